"""`cache info`, `verify`, `export` and `merge`."""
