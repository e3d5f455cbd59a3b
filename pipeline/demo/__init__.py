"""`demo`: the whole way on drawn images."""
