"""`ablate-timesteps`: heads compared on subsets of the cached timesteps, blocks or texts."""
