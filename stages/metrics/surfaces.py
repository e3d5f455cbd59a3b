"""How far the outlines of a segmentation and of its truth are apart."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


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
    there, back = _distances(*surfaces), _distances(*surfaces[::-1])
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _surface(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    inside: np.ndarray = ndimage.binary_erosion(mask)
    return mask & ~inside


def _distances(start: Bool[np.ndarray, "y x"], end: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, "pixel"]:
    to_end: np.ndarray = ndimage.distance_transform_edt(~end)
    return to_end[start]
