"""How other programs name and shape their tensors."""
