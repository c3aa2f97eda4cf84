"""Images of faces, and the values measured on them."""
