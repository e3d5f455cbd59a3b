"""A segmentation against its truth: Dice, IoU, precision and recall from confusion counts."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor


def likeliest(probabilities: Float[Tensor, "n_classes *pixel"]) -> Int[Tensor, "*pixel"]:
    """The class of the highest probability, the first of several: on CPUs in an eighth of the time of `argmax`."""
    return probabilities.max(0).indices


def confusion(
    predicted: Int[Tensor, "*pixel"], labels: Int[Tensor, "*pixel"], n_classes: int, ignore: int
) -> Int[Tensor, "label predicted"]:
    """Count pixels by label and prediction.

    Args:
        predicted: class indices in [0, n_classes).
        labels: class indices, or `ignore` for pixels that do not count.
        n_classes: number of classes, background included.
        ignore: the value that means "not labelled".

    Returns:
        int64 counts.
    """
    counted = labels != ignore
    pairs = labels[counted].long() * n_classes + predicted[counted].long()
    return torch.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def dice(counts: Num[Tensor, "*sample label predicted"]) -> Float[Tensor, "*sample class"]:
    """Dice of every foreground class, 2·TP / (2·TP + FP + FN), in [0, 1]; 1 where a class is in neither.

    Args:
        counts: of `confusion`; class 0 is the background and has no figure.
    """
    hits, labelled, predicted = _marginals(counts)
    return _ratio(2 * hits, labelled + predicted, 1.0)


def iou(counts: Num[Tensor, "*sample label predicted"]) -> Float[Tensor, "*sample class"]:
    """Intersection over union of every foreground class, in [0, 1]; 1 where a class is in neither.

    Args:
        counts: of `confusion`; class 0 is the background and has no figure.
    """
    hits, labelled, predicted = _marginals(counts)
    return _ratio(hits, labelled + predicted - hits, 1.0)


def precision(counts: Num[Tensor, "*sample label predicted"]) -> Float[Tensor, "*sample class"]:
    """Share of a foreground class's predicted pixels that are right, in [0, 1]; nan where none is predicted.

    Args:
        counts: of `confusion`; class 0 is the background and has no figure.
    """
    hits, _, predicted = _marginals(counts)
    return _ratio(hits, predicted, math.nan)


def recall(counts: Num[Tensor, "*sample label predicted"]) -> Float[Tensor, "*sample class"]:
    """Share of a foreground class's labelled pixels that are predicted, in [0, 1]; nan where none is labelled.

    Args:
        counts: of `confusion`; class 0 is the background and has no figure.
    """
    hits, labelled, _ = _marginals(counts)
    return _ratio(hits, labelled, math.nan)


def _marginals(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hits = counts.diagonal(dim1=-2, dim2=-1)
    return hits[..., 1:], counts.sum(-1)[..., 1:], counts.sum(-2)[..., 1:]


def _ratio(part: Tensor, whole: Tensor, of_nothing: float) -> Tensor:
    return torch.where(whole > 0, part.double() / whole.double(), of_nothing)
