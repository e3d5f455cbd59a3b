"""Views of arrays: pictures and labels turned on their way into the UNet, and what a head says of them turned back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .symmetries import FLIP, MIRROR, TRANSPOSE, View


def turn(picture: UInt8[np.ndarray, "side side *c"], view: View) -> UInt8[np.ndarray, "side side *c"]:
    """A square image or label map as the view shows it: every pixel moves, none changes."""
    y, x = (-1 if view & FLIP else 1), (-1 if view & MIRROR else 1)
    flipped = picture[::y, ::x]
    return np.ascontiguousarray(flipped.swapaxes(0, 1) if view & TRANSPOSE else flipped)


def turn_back(maps: Float[Tensor, "*n side side"], view: View) -> Float[Tensor, "*n side side"]:
    """Maps of a view as maps of the picture that it is a view of."""
    upright = maps.mT if view & TRANSPOSE else maps
    return upright.flip([axis for axis, bit in ((-2, FLIP), (-1, MIRROR)) if view & bit])


def mean_over_views(
    logits: Iterable[Float[Tensor, "*member n_classes side side"]], views: Sequence[View]
) -> Float[Tensor, "*member n_classes side side"]:
    """The logarithm of the mean probabilities, whose softmax is that mean; of the picture alone, its own logits.

    Args:
        logits: of the views, each as the head gives it, taken one by one.
        views: at least one.
    """
    if tuple(views) == (0,):
        (own,) = logits
        return own
    turned = [turn_back(one.log_softmax(-3), view) for one, view in zip(logits, views, strict=True)]
    return torch.stack(turned).logsumexp(0) - math.log(len(turned))
