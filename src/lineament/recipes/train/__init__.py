"""`lineament train`: one visible training loop for each network."""
