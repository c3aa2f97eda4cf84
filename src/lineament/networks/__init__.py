"""Neural networks: the StyleGAN family and the decomposer."""
