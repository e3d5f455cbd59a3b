"""A cache in one file: HDF5, and opening a cache wherever it lies."""
