"""Scoring of a head on samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...stages.heads.base import Head
from ...stages.metrics.overlap import confusion, dice, likeliest
from ..scoring.summary import counts_by_parent
from .inputs import CachedFeatures
from .lost import false_negatives, lost_pixels

Segmented = tuple[SampleRow, Float[Tensor, "member n_classes y x"], UInt8[Tensor, "y x"]]
"""A row, each member's probabilities for it, and its labels, on the CPU."""


def segment_samples(head: Head, data: CachedFeatures, samples: Sequence[SampleRow]) -> Iterator[Segmented]:
    """Segment whole images at the model's size, one after another."""
    for sample, x in zip(samples, data.inputs(samples), strict=True):
        yield sample, head.segment(x).softmax(1).cpu(), data.labels(sample)


def score_samples(
    head: Head, data: CachedFeatures, samples: Sequence[SampleRow]
) -> Int[Tensor, "sample label predicted"]:
    """Confusion counts of whole images at the model's size, lost classes (`lost_pixels`) counted as false negatives."""
    counts = torch.stack([
        confusion(likeliest(members.mean(0)), labels, data.n_classes, data.ignore)
        for _, members, labels in segment_samples(head, data, samples)
    ])  # fmt: skip
    return counts + false_negatives_by_row(data, samples)


def false_negatives_by_row(data: CachedFeatures, samples: Sequence[SampleRow]) -> Int[Tensor, "sample label predicted"]:
    """Confusion counts of lost classes at the model's size, with the first row of each sample."""
    lost, spec = lost_pixels(data.reader, samples), data.reader.manifest.features
    counts = []
    for row in samples:
        height, width = (spec.tile, spec.tile) if spec.tile else row.size
        counts.append(false_negatives(lost.pop(row.parent, {}), data.n_classes, spec.image_size**2 / (height * width)))
    return torch.stack(counts)


def dice_of_samples(head: Head, data: CachedFeatures, samples: Sequence[SampleRow]) -> Float[Tensor, "sample class"]:
    """Dice of whole images, tiles of one image together."""
    return dice(counts_by_parent(score_samples(head, data, samples), samples))
