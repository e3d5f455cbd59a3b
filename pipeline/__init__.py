"""Where samples, stages and the cache meet: one function for each command."""
