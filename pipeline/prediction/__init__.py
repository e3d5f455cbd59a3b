"""`predict`: a trained head on new images, which runs stage one itself."""
