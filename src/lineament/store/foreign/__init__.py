"""Files of other programs, read without running anything that they carry."""
