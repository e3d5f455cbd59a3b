"""Counts of a sample, from its probabilities and labels band by band.

Counts and histograms of bands add up, so that an image of any size takes the memory of a band. Distances and instances
need the whole image: where they are asked for, its classes are kept, two bytes a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ...cache.format.samples import IGNORE, SampleRow
from ...stages.metrics.calibration import (
    N_BINS,
    confusion_by_uncertainty,
    expected_calibration_error,
    reliability,
    without_uncertain,
)
from ...stages.metrics.overlap import dice, likeliest
from ...stages.metrics.uncertainty import UncertaintyKind, measures
from .shapes import SampleShapes, SurfaceSettings, measure_shapes
from .summary import scores

SHARES_ASIDE = tuple(percent / 100 for percent in range(0, 51, 5))
"""Shares of an image's pixels that are set aside as the most uncertain."""

LabelledBand = tuple[Float[Tensor, "member n_classes y x"], UInt8[Tensor, "y x"]]
"""Each member's probabilities, and class indices of the same pixels, over the image's whole width."""


@dataclass(frozen=True)
class SampleCounts:
    """Counts of one sample."""

    counts: Int[Tensor, "label predicted"]
    reliability: Float[Tensor, "bin 3"]
    without_uncertain: Mapping[UncertaintyKind, Float[Tensor, "share label predicted"]]
    """Confusion counts without each of `SHARES_ASIDE`, by each measure of uncertainty."""
    shapes: SampleShapes

    def plus(self, others: Int[Tensor, "label predicted"]) -> SampleCounts:
        """With counts of classes that the labels lack and the sample has; no share of them is set aside."""
        without = {kind: counts + others for kind, counts in self.without_uncertain.items()}
        return replace(self, counts=self.counts + others, without_uncertain=without)


def count_sample(
    bands: Iterable[LabelledBand],
    n_classes: int,
    *,
    surface: SurfaceSettings | None,
    instances: bool,
    objects: Int[np.ndarray, "y x"] | None = None,
) -> SampleCounts:
    """Count a sample.

    Args:
        bands: from top to bottom, on the CPU.
        n_classes: background included.
        surface: how to measure distances between surfaces; `None`: not at all.
        instances: whether to compare instances.
        objects: numbered true instances of the foreground, 0 elsewhere; `None`: those that labels show.
    """
    bins = torch.zeros(N_BINS, 3, dtype=torch.float64)
    by_uncertainty: dict[UncertaintyKind, Int[Tensor, "level label predicted"]] = {}
    kept: list[UInt8[np.ndarray, "2 y x"]] = []
    for members, labels in bands:
        probabilities = members.mean(0)
        bins += reliability(probabilities, labels, IGNORE)
        for kind, uncertainty in measures(members).items():
            counted = confusion_by_uncertainty(probabilities, uncertainty, labels, IGNORE)
            by_uncertainty[kind] = by_uncertainty.get(kind, 0) + counted
        if surface or instances:
            kept.append(np.stack([labels.numpy(), likeliest(probabilities).byte().numpy()]))
    without = {
        kind: torch.stack([without_uncertain(counted, share) for share in SHARES_ASIDE])
        for kind, counted in by_uncertainty.items()
    }
    shapes, counts = SampleShapes(), by_uncertainty["predictive_entropy"].sum(0)
    if kept:
        maps = np.concatenate(kept, 1)
        shapes = measure_shapes(maps, n_classes, surface=surface, instances=instances, true_objects=objects)
    return SampleCounts(counts, bins, without, shapes)


def score_counts(counts: Sequence[SampleCounts], samples: Sequence[SampleRow]) -> dict[str, Any]:
    """Figures of all samples as plain numbers.

    Args:
        counts: of each sample.
        samples: a row of each.

    Returns:
        The result of `scores`; `calibration`: `ece` and its `bins`, over the pixels of all samples; and `selective`:
        measure of uncertainty → share of each image's pixels that is kept, the most certain ones → mean Dice per
        sample. A class without pixels left, neither labelled nor predicted, has no Dice there.
    """
    figures = {name: torch.stack([one.shapes.figures[name] for one in counts]) for name in counts[0].shapes.figures}
    matches = [one.shapes.matches for one in counts if one.shapes.matches is not None]
    bins = torch.stack([one.reliability for one in counts]).sum(0)
    selective = {
        kind: _selective(torch.stack([one.without_uncertain[kind] for one in counts]))
        for kind in counts[0].without_uncertain
    }
    return {
        **scores(
            torch.stack([one.counts for one in counts]), samples, figures, torch.stack(matches) if matches else None
        ),
        "calibration": {"ece": expected_calibration_error(bins), "bins": _plain_bins(bins)},
        "selective": selective,
    }


def _selective(counts: Float[Tensor, "sample share label predicted"]) -> dict[str, float | None]:
    """Share kept → mean Dice per sample; `None` where no sample has pixels left."""
    rest = (counts.sum(-1) + counts.sum(-2))[..., 1:]  # [sample, share, class]
    set_aside = (rest == 0) & (rest[:, :1] > 0)
    means = dice(counts).masked_fill(set_aside, math.nan).nanmean(-1).nanmean(0).tolist()
    return {f"{1 - share:.2f}": None if math.isnan(it) else it for share, it in zip(SHARES_ASIDE, means, strict=True)}


def _plain_bins(bins: Float[Tensor, "bin 3"]) -> list[dict[str, float | None]]:
    """Number of pixels, accuracy and mean probability of each bin; the latter two `None` for an empty one."""
    return [
        {"n": int(n), "accuracy": right / n if n else None, "confidence": confidence / n if n else None}
        for n, right, confidence in bins.tolist()
    ]
