"""Learning while somebody draws: labelled pixels in memory, a ridge regression, a warm-started head, the worker."""
