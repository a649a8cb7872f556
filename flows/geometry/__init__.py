"""Rows as points: moments, principal directions, outliers, landmarks, ridge, known covariates."""
