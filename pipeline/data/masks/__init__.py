"""Masks of a data set: how they are declared and read, which are odd, and what of them their labels lose."""
