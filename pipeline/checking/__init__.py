"""Report of `check-data`: what was read as what, and what is wrong or odd."""
