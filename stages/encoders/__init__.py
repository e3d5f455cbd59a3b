"""Frozen image encoders as feature extractors, beside or in place of the diffusion UNet."""
