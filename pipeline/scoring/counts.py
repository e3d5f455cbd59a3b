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
from ...stages.metrics.instances import aggregated_jaccard, panoptic_quality, split_objects
from ...stages.metrics.overlap import confusion, dice, hausdorff_95
from ...stages.metrics.uncertainty import UncertaintyKind, measures
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
    more: Mapping[str, Float[Tensor, "class"]]
    """`hd95`; `aji`, `pq`, `sq`, `rq`: those asked for, of each foreground class."""

    def plus(self, missed: Int[Tensor, "label predicted"]) -> SampleCounts:
        """With counts of classes that the labels lack and the sample has; no share of them is set aside."""
        without = {kind: counts + missed for kind, counts in self.without_uncertain.items()}
        return replace(self, counts=self.counts + missed, without_uncertain=without)


def count_sample(
    bands: Iterable[LabelledBand],
    n_classes: int,
    *,
    surface: bool,
    instances: bool,
    objects: Int[np.ndarray, "y x"] | None = None,
) -> SampleCounts:
    """Count a sample.

    Args:
        bands: from top to bottom, on the CPU.
        n_classes: background included.
        surface: whether to measure boundary distances.
        instances: whether to compare instances.
        objects: numbered true instances of the foreground, 0 elsewhere; `None`: those that labels show.
    """
    bins = torch.zeros(N_BINS, 3, dtype=torch.float64)
    counts = torch.zeros(n_classes, n_classes, dtype=torch.long)
    by_uncertainty: dict[UncertaintyKind, Int[Tensor, "level label predicted"]] = {}
    kept: list[UInt8[np.ndarray, "2 y x"]] = []
    for members, labels in bands:
        probabilities = members.mean(0)
        bins += reliability(probabilities, labels, IGNORE)
        counts += confusion(probabilities.argmax(0), labels, n_classes, IGNORE)
        for kind, uncertainty in measures(members).items():
            counted = confusion_by_uncertainty(probabilities, uncertainty, labels, IGNORE)
            by_uncertainty[kind] = by_uncertainty.get(kind, 0) + counted
        if surface or instances:
            kept.append(np.stack([labels.numpy(), probabilities.argmax(0).byte().numpy()]))
    without = {
        kind: torch.stack([without_uncertain(counted, share) for share in SHARES_ASIDE])
        for kind, counted in by_uncertainty.items()
    }
    maps = np.concatenate(kept, 1) if kept else None
    of_classes = [
        _shapes(maps, index, objects, surface=surface, instances=instances)
        for index in range(1, n_classes) if maps is not None
    ]  # fmt: skip
    return SampleCounts(counts, bins, without, _stacked(of_classes))


def _stacked(of_classes: Sequence[Mapping[str, float]]) -> dict[str, Float[Tensor, "class"]]:
    names = of_classes[0] if of_classes else ()
    return {name: torch.tensor([of[name] for of in of_classes], dtype=torch.float64) for name in names}


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
    more = {name: torch.stack([one.more[name] for one in counts]) for name in counts[0].more}
    bins = torch.stack([one.reliability for one in counts]).sum(0)
    selective = {
        kind: _selective(torch.stack([one.without_uncertain[kind] for one in counts]))
        for kind in counts[0].without_uncertain
    }
    return {
        **scores(torch.stack([one.counts for one in counts]), samples, more),
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


def _shapes(
    maps: UInt8[np.ndarray, "2 y x"],
    index: int,
    true_objects: Int[np.ndarray, "y x"] | None,
    *,
    surface: bool,
    instances: bool,
) -> dict[str, float]:
    """Measures of one class that need the whole image; unlabelled pixels are background in both."""
    labels, classes = maps
    truth, predicted = labels == index, (classes == index) & (labels != IGNORE)
    measures = {"hd95": hausdorff_95(truth, predicted)} if surface else {}
    if instances:
        objects = split_objects(truth) if true_objects is None else true_objects, split_objects(predicted)
        panoptic = panoptic_quality(*objects)
        measures["aji"] = aggregated_jaccard(*objects)
        measures |= {"pq": panoptic.quality, "sq": panoptic.segmentation, "rq": panoptic.recognition}
    return measures
