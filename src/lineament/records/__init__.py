"""Frozen records and shape aliases that travel between the rooms."""
