"""Images of faces and what is read off them."""
