"""What an answer makes of images: masks and uncertainty in tiles, under their own text, none, or another."""
