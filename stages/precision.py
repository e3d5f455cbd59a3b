"""Arithmetic of a model's forward: float32, or a shorter type under autocast.

Weights stay in float32: autocast brings them and the activations to the shorter type where torch deems that safe
(matrix products and convolutions), and backward follows.
"""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]


def arithmetic(precision: Precision, device: str | torch.device) -> torch.autocast:
    """Context in which models compute in this precision.

    Args:
        precision: `float32` changes nothing.
        device: of the model.
    """
    enabled = precision != "float32"
    return torch.autocast(torch.device(device).type, getattr(torch, precision) if enabled else None, enabled=enabled)
