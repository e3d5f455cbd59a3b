"""Resizing, tiling, blending, stain normalisation, filter bank."""
