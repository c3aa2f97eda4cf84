"""Measurements of speed and memory; run from the root of the repository, not installed."""
