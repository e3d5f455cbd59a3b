"""The trained heads: pixel, context, paper, and ensembles of them."""
