"""The StyleGAN family: generators and discriminators."""
