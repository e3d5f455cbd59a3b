"""A segmentation against its truth: Dice, IoU, precision and recall from confusion counts, and distance of outlines."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from scipy import ndimage
from torch import Tensor


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


def hausdorff_95(truth: Bool[np.ndarray, "y x"], predicted: Bool[np.ndarray, "y x"]) -> float:
    """The 95th percentile of the Hausdorff distance, symmetric, in pixels.

    From every pixel of one surface to the nearest of the other, the 95th percentile of these distances; then the same
    from the other, and of the two the larger, as MONAI's `HausdorffDistanceMetric(percentile=95)` has it. The surface
    of a mask is its pixels with one of four neighbours outside it; what lies beyond the image is outside.

    Returns:
        At least 0; nan where one of the masks is empty, or both, since nothing is at a distance from nothing.
    """
    if not truth.any() or not predicted.any():
        return math.nan
    surfaces = _surface(truth), _surface(predicted)
    return float(max(np.percentile(_distances(*pair), 95) for pair in (surfaces, surfaces[::-1])))


def _marginals(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hits = counts.diagonal(dim1=-2, dim2=-1)
    return hits[..., 1:], counts.sum(-1)[..., 1:], counts.sum(-2)[..., 1:]


def _ratio(part: Tensor, whole: Tensor, of_nothing: float) -> Tensor:
    return torch.where(whole > 0, part.double() / whole.double(), of_nothing)


def _surface(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    inside: np.ndarray = ndimage.binary_erosion(mask)
    return mask & ~inside


def _distances(start: Bool[np.ndarray, "y x"], end: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "pixel"]:
    to_end: np.ndarray = ndimage.distance_transform_edt(~end)
    return to_end[start]
