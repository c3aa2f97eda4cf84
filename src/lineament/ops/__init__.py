"""Pure tensor functions: no device choice, no files, no hidden randomness."""
