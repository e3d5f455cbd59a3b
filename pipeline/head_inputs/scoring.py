"""Scoring of a head on samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...stages.heads.base import Head
from ...stages.metrics.overlap import confusion, dice
from ..scoring.summary import counts_by_parent
from .inputs import CachedFeatures

PredictionObserver = Callable[[SampleRow, Float[Tensor, "member n_classes y x"], UInt8[Tensor, "y x"]], None]
"""Is shown each member's probabilities for a row, and its labels, on the CPU."""


def score_samples(
    head: Head, data: CachedFeatures, samples: Sequence[SampleRow], look: PredictionObserver | None = None
) -> Int[Tensor, "sample label predicted"]:
    """Confusion counts of whole images at the model's size; `look` sees them pass."""
    counts = []
    for sample, x in zip(samples, data.inputs(samples), strict=True):
        members, labels = head.segment(x).softmax(1).cpu(), data.labels(sample).cpu()
        counts.append(confusion(members.mean(0).argmax(0), labels, data.n_classes, data.ignore))
        if look is not None:
            look(sample, members, labels)
    return torch.stack(counts)


def dice_of_samples(head: Head, data: CachedFeatures, samples: Sequence[SampleRow]) -> Float[Tensor, "sample class"]:
    """Dice of whole images, tiles of one image together."""
    return dice(counts_by_parent(score_samples(head, data, samples), samples))
