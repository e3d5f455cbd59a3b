"""Masks and objects to and from the formats of other tools."""
