"""Calibration of a head's probabilities, and overlap without its most uncertain pixels.

Both come from histograms, so that pixels are read once, band by band, and none is kept. Histograms of the bands of an
image add up to those of the image.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from .overlap import likeliest

N_BINS = 15
"""Bins of confidence, of equal width: as in Guo et al. 2017 (arXiv 1706.04599)."""
N_LEVELS = 1000
"""Bins of uncertainty, of equal width in its square root."""


def reliability(
    probabilities: Float[Tensor, "n_classes *pixel"], labels: UInt8[Tensor, "*pixel"], ignore: int
) -> Float[Tensor, "bin 3"]:
    """Labelled pixels by the probability of their predicted class.

    Args:
        probabilities: in [0, 1], adding up to 1 over classes.
        labels: class indices, or `ignore` for pixels that do not count.
        ignore: the value that means "not labelled".

    Returns:
        For each bin ((m-1)/15, m/15]: number of pixels, of correct ones, and sum of their probabilities.
    """
    confidence, predicted = probabilities[:, labels != ignore].double().max(0)
    right = (predicted == labels[labels != ignore]).double()
    bins = ((confidence * N_BINS).ceil().long() - 1).clamp(0, N_BINS - 1)
    columns = [torch.bincount(bins, of, N_BINS) for of in (torch.ones_like(right), right, confidence)]
    return torch.stack(columns, 1)


def expected_calibration_error(bins: Float[Tensor, "bin 3"]) -> float:
    """Mean over pixels of the difference between a bin's share of correct ones and its mean probability, in [0, 1].

    The error of the predicted class alone (Guo et al. 2017, equation 3); nan without pixels.
    """
    n, right, confidence = bins.unbind(1)
    return float((right - confidence).abs().sum() / n.sum())


def confusion_by_uncertainty(
    probabilities: Float[Tensor, "n_classes *pixel"],
    uncertainty: Float[Tensor, "*pixel"],
    labels: UInt8[Tensor, "*pixel"],
    ignore: int,
) -> Int[Tensor, "level label predicted"]:
    """Count labelled pixels by uncertainty, label and prediction; over levels it adds up to the confusion counts.

    Args:
        probabilities: in [0, 1], adding up to 1 over classes.
        uncertainty: in nats, in [0, ln n_classes].
        labels: class indices, or `ignore` for pixels that do not count.
        ignore: the value that means "not labelled".

    Returns:
        int64 counts; the last level is the highest possible uncertainty.
    """
    n_classes, counted = len(probabilities), labels != ignore
    # Most pixels are all but certain: by the root, levels are fine there.
    share = (uncertainty[counted] / math.log(n_classes)).sqrt()
    level = (share * N_LEVELS).long().clamp(0, N_LEVELS - 1)
    index = (level * n_classes + labels[counted]) * n_classes + likeliest(probabilities[:, counted])
    counts = torch.bincount(index, minlength=N_LEVELS * n_classes**2)
    return counts.reshape(N_LEVELS, n_classes, n_classes)


def without_uncertain(
    by_uncertainty: Int[Tensor, "level label predicted"], share: float
) -> Float[Tensor, "label predicted"]:
    """Confusion counts without the most uncertain pixels.

    Args:
        by_uncertainty: counts of `confusion_by_uncertainty`.
        share: of the pixels to set aside, in [0, 1).

    Returns:
        float64 counts: of the level at the limit, every kind of pixel counts in proportion.
    """
    n = by_uncertainty.sum((1, 2)).double()  # [level]
    before = n.cumsum(0) - n
    kept = ((1 - share) * n.sum() - before).clamp(min=0).minimum(n)
    return (by_uncertainty * (kept / n.clamp(min=1))[:, None, None]).sum(0)
