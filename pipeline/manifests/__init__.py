"""Manifests from folders as people have them."""
