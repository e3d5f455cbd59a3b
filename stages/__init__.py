"""Tensors in, tensors out: the frozen models of stage one and the head of stage two."""
