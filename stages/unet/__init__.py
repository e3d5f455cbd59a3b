"""Frozen diffusion UNets: `load_unet` gives one, `UNetRecorder` its decoder's activations."""

from .bfloat16 import to_bfloat16
from .decoder import TruncatedUNet
from .recorder import UNetRecorder, load_unet

__all__ = ["TruncatedUNet", "UNetRecorder", "load_unet", "to_bfloat16"]
