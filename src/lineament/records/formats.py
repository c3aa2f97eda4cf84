"""Formats of output files."""

ANIMATION_SUFFIXES = (".gif", ".webp", ".mp4")
