"""`extract-features`: stage one from files to cache; local, shared by processes, or on Ray."""
