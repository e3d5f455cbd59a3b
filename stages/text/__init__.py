"""Frozen text encoders, and the words of a text."""
