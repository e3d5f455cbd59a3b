"""Frozen diffusion UNets: `load_unet` gives one, `UNetRecorder` its decoder's activations."""

from .recorder import UNetRecorder, load_unet

__all__ = ["UNetRecorder", "load_unet"]
