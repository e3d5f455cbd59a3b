"""Strokes: what was drawn, the log that keeps it, and the label images that it makes."""
