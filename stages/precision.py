"""Arithmetic of a model's forward: float32, or a shorter type under autocast.

Weights stay in float32: autocast brings them and the activations to the shorter type where torch deems that safe
(matrix products and convolutions), and backward follows. With `bfloat16-weights` a frozen UNet has weights in bfloat16
(unet/bfloat16.py); other models then compute as with `bfloat16`.
"""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16", "bfloat16-weights"]


def arithmetic(precision: Precision, device: str | torch.device) -> torch.autocast:
    """Context in which models compute in this precision.

    Args:
        precision: `float32` changes nothing.
        device: of the model.
    """
    dtype = None if precision == "float32" else getattr(torch, precision.removesuffix("-weights"))
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype is not None)
