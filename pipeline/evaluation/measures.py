"""Names of the measures, the literature that gives them, and their values where a mask is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEAN, POOLED = "mean over images", "pooled over pixels"
WARNING = (
    "Compare with figures of the same kind: the same masks of LViT for QaTa-COV19 have a Dice of 83.4 % as a mean over "
    "images and of 90.6 % pooled over pixels."
)
LITERATURE = (
    (MEAN, "Dice per case, mIoU: LViT and most medical papers; PQ, DQ, SQ of most papers on nuclei"),
    ("pooled", "global Dice, overall IoU (oIoU), micro average: LanGuideMedSeg (torchmetrics); mPQ+ of CoNIC"),
)
"""Kind of figure → its names and the papers that give it."""
SHARES = ("dice", "iou", "precision", "recall", "nsd", "aji", "pq", "dq", "sq")
"""Measures in [0, 1]."""
_LABELS = {
    "dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall", "hd95": "HD95", "nsd": "NSD",
    "aji": "AJI", "pq": "PQ", "dq": "DQ (F1 at 0.5)", "sq": "SQ",
}  # fmt: skip
_EMPTY = {"both": "in both", "truth": "in the truth alone", "prediction": "in the prediction alone"}
_LEFT_OUT = "left out"
_OF_OBJECTS = (_LEFT_OUT, "0", "0")
_EMPTY_VALUES = {
    "dice": ("1", "0", "0"),
    "iou": ("1", "0", "0"),
    "precision": (_LEFT_OUT, "0", _LEFT_OUT),
    "recall": (_LEFT_OUT, _LEFT_OUT, "0"),
    "hd95": (_LEFT_OUT, _LEFT_OUT, _LEFT_OUT),
    "nsd": _OF_OBJECTS,
    "aji": _OF_OBJECTS,
    "pq": _OF_OBJECTS,
    "dq": _OF_OBJECTS,
    "sq": (_LEFT_OUT, _LEFT_OUT, _LEFT_OUT),
}
"""Measure → its values where a class is empty, in the order of `_EMPTY`."""


def labels(scores: Mapping[str, Any]) -> dict[str, str]:
    """Measures that were asked for, in their order → names with units."""
    named = {name: label for name, label in _LABELS.items() if name in scores}
    if surface := scores.get("surface"):
        named["hd95"] = f"HD95 ({surface['unit']})"
        if "nsd" in named:
            named["nsd"] = f"NSD ({surface['tolerance']:g} {surface['unit']})"
    return named


def empty_masks(scores: Mapping[str, Any]) -> list[tuple[str, int, list[str]]]:
    """Where the pixels of a class are missing, in how many samples, and the value of each measure of `labels` there."""
    return [
        (words, scores["empty"][where], [_EMPTY_VALUES[name][i] for name in labels(scores)])
        for i, (where, words) in enumerate(_EMPTY.items())
    ]


def empty_lines(scores: Mapping[str, Any]) -> list[str]:
    """Number of samples with empty masks, and of those that occur the rule."""
    cases = empty_masks(scores)
    counts = ", ".join(f"{words} {n}" for words, n, _ in cases)
    return [
        f"empty masks of a class: {counts} of {scores['n']} samples",
        *(f"  {words}: {_by_value(labels(scores), values)}" for words, n, values in cases if n),
    ]


def _by_value(named: Mapping[str, str], values: Sequence[str]) -> str:
    """Measures with the same value together."""
    return "; ".join(
        f"{', '.join(label for label, one in zip(named.values(), values, strict=True) if one == value)} {value}"
        for value in dict.fromkeys(values)
    )
