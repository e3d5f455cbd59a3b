"""The cache on disk, and how it stays whole: Zarr and NumPy, no torch."""
