"""Rows: captured, read, planted, checked, split, and made ready for a fit."""
