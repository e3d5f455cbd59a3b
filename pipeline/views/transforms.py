"""Views of arrays: images and labels turned on their way into the UNet, and a head's predictions turned back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .symmetries import FLIP, MIRROR, TRANSPOSE, View


def turn(image: UInt8[np.ndarray, "side side *c"], view: View) -> UInt8[np.ndarray, "side side *c"]:
    """A square image or label map as the view shows it: every pixel moves, none changes."""
    y, x = (-1 if view & FLIP else 1), (-1 if view & MIRROR else 1)
    flipped = image[::y, ::x]
    return np.ascontiguousarray(flipped.swapaxes(0, 1) if view & TRANSPOSE else flipped)


def turn_back(maps: Float[Tensor, "*n side side"], view: View) -> Float[Tensor, "*n side side"]:
    """Maps of a view, turned back to the original image."""
    upright = maps.mT if view & TRANSPOSE else maps
    return upright.flip([axis for axis, bit in ((-2, FLIP), (-1, MIRROR)) if view & bit])


def mean_over_views(
    logits: Iterable[Float[Tensor, "*member n_classes side side"]], views: Sequence[View]
) -> Float[Tensor, "*member n_classes side side"]:
    """Logarithm of the mean probabilities, whose softmax is that mean; of view 0 alone, its own logits.

    Args:
        logits: of the views, in their own orientation, consumed one by one.
        views: at least one.
    """
    if tuple(views) == (0,):
        (own,) = logits
        return own
    turned = [turn_back(one.log_softmax(-3), view) for one, view in zip(logits, views, strict=True)]
    return torch.stack(turned).logsumexp(0) - math.log(len(turned))
