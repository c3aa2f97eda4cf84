"""`lineament evaluate`: measure decomposers, edits, parts and directions."""
