"""`lineament balance`: fill up the rare values of an unbalanced set of images."""
