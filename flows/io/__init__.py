"""Rows and flows on disk, and what users hand in."""
