"""What users import: the commands as functions, and caches, runs and results as objects."""
