"""Predictions of the head in training: masks and uncertainty in tiles, with the image's own text, none, or another."""
