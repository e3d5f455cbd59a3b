"""The run folder: config, head, projections, compatibility with a cache."""
