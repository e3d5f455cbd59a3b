"""Images as tiles to look at."""
