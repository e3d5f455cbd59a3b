"""The eight symmetries of the square, of arrays and of texts."""
