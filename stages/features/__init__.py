"""Activations as tensors: compression, sampling, crops, augmentation, position."""
