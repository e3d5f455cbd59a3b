"""Scores from confusion counts: one for each sample of the data, never for a tile.

A figure that a sample cannot have (a distance to an empty mask, say) is `None`: means leave it out, and `undefined`
says how many samples that were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...cache.format.samples import SampleRow, parents
from ...stages.metrics.overlap import dice, iou, precision, recall
from .intervals import Interval, bootstrap_intervals, mean_intervals, sum_by_group

OVERLAPS = {"dice": dice, "iou": iou, "precision": precision, "recall": recall}


def scores(
    counts: Int[Tensor, "row label predicted"],
    rows: Sequence[SampleRow],
    more: Mapping[str, Float[Tensor, "sample class"]] | None = None,
) -> dict[str, Any]:
    """Figures per sample and micro as plain numbers; with several classes, the mean over foreground classes.

    Args:
        counts: confusion counts of each row.
        rows: of the cache; tiles of one image count as one sample.
        more: further measures of each sample and foreground class, in the order of `parents(rows)`; nan for none.

    Returns:
        `n` and `n_groups`; for each measure its mean over samples (`dice`), the means of each foreground class
        (`class_dice`) and, of those that counts give, the figure of all pixels together (`micro_dice`); `intervals`
        of these but the classes', 95 %, over groups; `undefined`; and `per_sample`.
    """
    whole = counts_by_parent(counts, rows)
    measures = {name: measure(whole) for name, measure in OVERLAPS.items()} | dict(more or {})
    of_samples = {name: values.nanmean(-1) for name, values in measures.items()}
    groups = {row.parent: row.group for row in rows}
    return {
        "n": len(groups),
        "n_groups": len({*groups.values()}),
        **{name: _plain(values.nanmean()) for name, values in of_samples.items()},
        **{f"micro_{name}": _plain(measure(whole.sum(0)).nanmean()) for name, measure in OVERLAPS.items()},
        **{f"class_{name}": [*map(_plain, values.nanmean(0))] for name, values in measures.items()},
        "intervals": _intervals(of_samples, whole, [*groups.values()]),
        "undefined": {name: int(values.isnan().sum()) for name, values in of_samples.items() if values.isnan().any()},
        "per_sample": [
            {"id": parent, "group": group, **_of_sample(measures, i)}
            for i, (parent, group) in enumerate(groups.items())
        ],
    }


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


def _intervals(
    of_samples: Mapping[str, Float[Tensor, "sample"]],
    whole: Int[Tensor, "sample label predicted"],
    groups: Sequence[str],
) -> dict[str, Interval | None]:
    means = mean_intervals(torch.stack([*of_samples.values()], 1).numpy(), groups)
    of_groups = torch.from_numpy(sum_by_group(whole.double().numpy(), groups))

    def micro(drawn: Int[np.ndarray, "draw group"]) -> Float[np.ndarray, "draw figure"]:
        counts = torch.einsum("dg,glp->dlp", torch.from_numpy(drawn).double(), of_groups)
        figures: np.ndarray = torch.stack([measure(counts).nanmean(-1) for measure in OVERLAPS.values()], 1).numpy()
        return figures

    micros = bootstrap_intervals(micro, len(of_groups))
    return dict(zip(of_samples, means, strict=True)) | {
        f"micro_{name}": interval for name, interval in zip(OVERLAPS, micros, strict=True)
    }


def _plain(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
