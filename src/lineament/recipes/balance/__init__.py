"""`lineament balance`: fill up a lopsided set of images."""
