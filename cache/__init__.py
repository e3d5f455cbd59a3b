"""What lies on disk and how it stays whole: Zarr and NumPy, no torch."""
