"""Scores from confusion counts: one for each sample of the data, never for a tile.

A figure that a sample cannot have (a distance to an empty mask, say) is `None`: means leave it out, and `undefined`
says how many samples that were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from ...cache.format.samples import SampleRow, parents
from ...stages.metrics.overlap import dice, iou, precision, recall
from ...stages.metrics.panoptic import detection_quality, panoptic_quality, segmentation_quality
from .intervals import Interval, bootstrap_intervals, mean_intervals, sum_by_group

_Measure = Callable[[Tensor], Tensor]
"""Sums of samples → figures, class by class."""

OVERLAPS: Mapping[str, _Measure] = {"dice": dice, "iou": iou, "precision": precision, "recall": recall}
PANOPTIC: Mapping[str, _Measure] = {"pq": panoptic_quality, "sq": segmentation_quality, "dq": detection_quality}


def scores(
    counts: Int[Tensor, "row label predicted"],
    rows: Sequence[SampleRow],
    more: Mapping[str, Float[Tensor, "sample class"]] | None = None,
    matches: Float[Tensor, "sample class 3"] | None = None,
) -> dict[str, Any]:
    """Figures per sample and pooled as plain numbers; with several classes, the mean over foreground classes.

    Args:
        counts: confusion counts of each row.
        rows: of the cache; tiles of one image count as one sample.
        more: further measures of each sample and foreground class, in the order of `parents(rows)`; nan for none.
        matches: objects of each sample and foreground class (`match_objects`), in the same order; `None`: no instances.

    Returns:
        `n` and `n_groups`; for each measure its mean over samples (`dice`), the means of each foreground class
        (`class_dice`) and, of those that sums give, the figure of all pixels or objects together (`micro_dice`);
        `intervals` of these but the classes', 95 %, over groups; `undefined`; `empty` (`count_empty`); and
        `per_sample`.
    """
    whole = counts_by_parent(counts, rows)
    pooled = [_Pooled(whole, OVERLAPS), *([] if matches is None else [_Pooled(matches, PANOPTIC)])]
    measures = {name: values for one in pooled for name, values in one.of(one.sums).items()} | dict(more or {})
    of_samples = {name: values.nanmean(-1) for name, values in measures.items()}
    groups = {row.parent: row.group for row in rows}
    return {
        "n": len(groups),
        "n_groups": len({*groups.values()}),
        **{name: _plain(values.nanmean()) for name, values in of_samples.items()},
        **{name: value for one in pooled for name, value in one.figures().items()},
        **{f"class_{name}": [*map(_plain, values.nanmean(0))] for name, values in measures.items()},
        "intervals": _intervals(of_samples, pooled, [*groups.values()]),
        "undefined": {name: int(values.isnan().sum()) for name, values in of_samples.items() if values.isnan().any()},
        "empty": count_empty(whole),
        "per_sample": [
            {"id": parent, "group": group, **_of_sample(measures, i)}
            for i, (parent, group) in enumerate(groups.items())
        ],
    }


def count_empty(counts: Int[Tensor, "sample label predicted"]) -> dict[str, int]:
    """Number of samples in which a foreground class has no labelled pixel, no predicted one, or neither.

    A sample with several classes may be counted under each.

    Returns:
        `both`: neither; `truth`: none labelled, but some predicted; `prediction`: none predicted, but some labelled.
    """
    labelled, predicted = (counts.sum(axis)[:, 1:] > 0 for axis in (-1, -2))
    of = {"both": ~labelled & ~predicted, "truth": ~labelled & predicted, "prediction": labelled & ~predicted}
    return {name: int(classes.any(-1).sum()) for name, classes in of.items()}


def counts_by_parent(
    counts: Int[Tensor, "row label predicted"], rows: Sequence[SampleRow]
) -> Int[Tensor, "sample label predicted"]:
    """Add up the counts of all rows of a sample, so that a ratio such as Dice is of the sample.

    Returns:
        Counts in the order of `parents(rows)`. Pixels that tiles share count once for each.
    """
    index_of = {parent: index for index, parent in enumerate(parents(rows))}
    index = torch.tensor([index_of[row.parent] for row in rows], dtype=torch.long)
    return torch.zeros(len(index_of), *counts.shape[1:], dtype=counts.dtype).index_add_(0, index, counts)


def _of_sample(measures: Mapping[str, Float[Tensor, "sample class"]], i: int) -> dict[str, Any]:
    """The figures of one sample; those of each class where there are several."""
    figures: dict[str, Any] = {name: _plain(values[i].nanmean()) for name, values in measures.items()}
    several = any(values.shape[1] > 1 for values in measures.values())
    classes = {f"class_{name}": [*map(_plain, values[i])] for name, values in measures.items()}
    return figures | (classes if several else {})


@dataclass(frozen=True)
class _Pooled:
    """Sums of each sample that add up over samples, and the measures that they give."""

    sums: Num[Tensor, "sample *axis"]
    measures: Mapping[str, _Measure]

    def of(self, sums: Num[Tensor, "*sample axis"]) -> dict[str, Float[Tensor, "*sample class"]]:
        return {name: measure(sums) for name, measure in self.measures.items()}

    def figures(self) -> dict[str, float | None]:
        return {f"micro_{name}": _plain(values.nanmean()) for name, values in self.of(self.sums.sum(0)).items()}

    def intervals(self, groups: Sequence[str]) -> dict[str, Interval | None]:
        of_groups = torch.from_numpy(sum_by_group(self.sums.double().numpy(), groups))

        def figures(drawn: Int[np.ndarray, "draw group"]) -> Float[np.ndarray, "draw figure"]:
            sums = torch.tensordot(torch.from_numpy(drawn).double(), of_groups, 1)
            means: np.ndarray = torch.stack([values.nanmean(-1) for values in self.of(sums).values()], 1).numpy()
            return means

        intervals = bootstrap_intervals(figures, len(of_groups))
        return {f"micro_{name}": interval for name, interval in zip(self.measures, intervals, strict=True)}


def _intervals(
    of_samples: Mapping[str, Float[Tensor, "sample"]], pooled: Sequence[_Pooled], groups: Sequence[str]
) -> dict[str, Interval | None]:
    means = mean_intervals(torch.stack([*of_samples.values()], 1).numpy(), groups)
    intervals = dict(zip(of_samples, means, strict=True))
    for one in pooled:
        intervals |= one.intervals(groups)
    return intervals


def _plain(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
