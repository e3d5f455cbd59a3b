"""`evaluate`, `compare` and `suggest`."""
