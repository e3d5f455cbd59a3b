"""From confusion counts to the figures that are reported: one for each sample of the data, never for a tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..cache.table import SampleRow
from ..stages.metrics import dice, iou


def scores(counts: Int[Tensor, "row label predicted"], rows: Sequence[SampleRow]) -> dict[str, Any]:
    """Per-sample and micro Dice and IoU as plain numbers; with several classes, the mean over foreground classes.

    Args:
        counts: what `confusion` counted for each row.
        rows: of the cache; tiles of one image count as one sample.
    """
    whole = counts_by_parent(counts, rows)
    sample_dice, sample_iou, micro = dice(whole), iou(whole), whole.sum(0)
    per_sample = [
        {"id": parent, "dice": float(one_dice.mean()), "iou": float(one_iou.mean())}
        for parent, one_dice, one_iou in zip(parents(rows), sample_dice, sample_iou, strict=True)
    ]
    return {
        "n": len(per_sample),
        "dice": float(sample_dice.mean()),
        "iou": float(sample_iou.mean()),
        "micro_dice": float(dice(micro).mean()),
        "micro_iou": float(iou(micro).mean()),
        "class_dice": sample_dice.mean(0).tolist(),
        "class_iou": sample_iou.mean(0).tolist(),
        "per_sample": per_sample,
    }


def parents(rows: Sequence[SampleRow]) -> tuple[str, ...]:
    """The ids of the samples that the rows are of, each once, in the order of their first rows."""
    return tuple(dict.fromkeys(row.parent for row in rows))


def counts_by_parent(
    counts: Int[Tensor, "row label predicted"], rows: Sequence[SampleRow]
) -> Int[Tensor, "sample label predicted"]:
    """Add up the counts of all rows of a sample, so that a ratio such as Dice is of the sample.

    Returns:
        Counts in the order of `parents(rows)`. Pixels that tiles share count once for each.
    """
    place = {parent: index for index, parent in enumerate(parents(rows))}
    index = torch.tensor([place[row.parent] for row in rows], dtype=torch.long)
    return torch.zeros(len(place), *counts.shape[1:], dtype=counts.dtype).index_add_(0, index, counts)
