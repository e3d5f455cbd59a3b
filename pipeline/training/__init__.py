"""`train-head`: the trainer, its objectives, state and report."""
