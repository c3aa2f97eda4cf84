"""Formats of the files that people get."""

ANIMATION_SUFFIXES = (".gif", ".webp", ".mp4")
