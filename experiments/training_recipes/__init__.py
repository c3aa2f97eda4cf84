"""Comparison of training recipes over seeds: which converge, and how well."""
