"""`explain`: the effect of each word of a text on a mask."""
