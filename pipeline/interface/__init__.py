"""The Python interface: the commands as functions, and caches, runs and results as objects."""
