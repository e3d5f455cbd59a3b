"""Distances between the surfaces of two masks: HD95 and normalised surface Dice.

The surface of a mask is its pixels with one of four neighbours outside it; what lies beyond the image is outside. Every
pixel of a surface counts alike, as in MONAI's metrics with their defaults; DeepMind's surface-distance weights by the
length of contour at the corners of pixels instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_ROUNDING = 1e-9
"""Three steps of 0.1 mm are 0.30000000000000004 mm, which a tolerance of 0.3 mm allows."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance from each pixel of one surface to the nearest of the other; infinite where the other mask is empty."""

    of_truth: Float[np.ndarray, "true"]
    """Of the pixels of the truth's surface; none where the mask is empty."""
    of_predicted: Float[np.ndarray, "predicted"]
    """Of the pixels of the prediction's surface; none where the mask is empty."""

    @property
    def hausdorff_95(self) -> float:
        """The 95th percentile of the Hausdorff distance, at least 0; nan where one of the masks is empty, or both.

        Of the 95th percentiles from either surface the larger, as in MONAI's `HausdorffDistanceMetric(percentile=95)`.
        """
        if not len(self.of_truth) or not len(self.of_predicted):
            return math.nan
        return float(max(np.percentile(self.of_truth, 95), np.percentile(self.of_predicted, 95)))

    def dice(self, tolerance: float) -> float:
        """Normalised surface Dice (Nikolov et al. 2018, arXiv 1809.04430): share of both surfaces within a tolerance.

        Args:
            tolerance: largest distance to the other surface, at least 0, in the unit of the distances.

        Returns:
            In [0, 1]; 0 where one of the masks is empty, nan where both are.
        """
        distances = np.concatenate([self.of_truth, self.of_predicted])
        return float((distances <= tolerance * (1 + _ROUNDING)).mean()) if len(distances) else math.nan


def surface_distances(
    truth: Bool[np.ndarray, "y x"], predicted: Bool[np.ndarray, "y x"], spacing: tuple[float, float] = (1.0, 1.0)
) -> SurfaceDistances:
    """Measure the Euclidean distances between the surfaces of two masks.

    Args:
        truth: a mask.
        predicted: another of the same size.
        spacing: from one pixel's centre to the next along y and x; its unit is that of the distances.
    """
    box = ndimage.find_objects((truth | predicted).view(np.uint8))
    if not box:
        return SurfaceDistances(np.empty(0), np.empty(0))
    one, other = (_surface(mask[box[0]]) for mask in (truth, predicted))  # nothing is nearer beyond the box
    return SurfaceDistances(_distances(one, other, spacing), _distances(other, one, spacing))


def _surface(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    inside: np.ndarray = ndimage.binary_erosion(mask)
    return mask & ~inside


def _distances(
    start: Bool[np.ndarray, "y x"], end: Bool[np.ndarray, "y x"], spacing: tuple[float, float]
) -> Float[np.ndarray, "pixel"]:
    if not end.any():
        return np.full(np.count_nonzero(start), np.inf)
    to_end: np.ndarray = ndimage.distance_transform_edt(~end, sampling=spacing)
    return to_end[start]
