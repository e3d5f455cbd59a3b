"""A simulated user, who corrects the largest wrong region of a mask with a short stroke along its middle.

The user never draws over a border: a stroke is cut to the pixels of its class. Without a mask the largest region of
each class is marked. Nothing is random.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage
from skimage.morphology import skeletonize

AROUND = np.ones((3, 3), bool)


class Stroke(NamedTuple):
    """Pixels that a stroke labels."""

    label: int
    pixels: Bool[np.ndarray, "y x"]


def correction(
    predicted: UInt8[np.ndarray, "y x"],
    truth: UInt8[np.ndarray, "y x"],
    labels: UInt8[np.ndarray, "y x"],
    *,
    length: int,
    width: int,
) -> Stroke | None:
    """The stroke in the largest region that is predicted wrong and not labelled; `None`: all is right.

    Args:
        predicted: class indices.
        truth: class indices.
        labels: the image's labels so far, 255 where there are none.
        length: most pixels along the stroke.
        width: of the brush.
    """
    wrong = (predicted != truth) & (labels == 255)
    regions, n_regions = ndimage.label(wrong, AROUND)
    if not n_regions:
        return None
    largest = regions == 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    label = int(np.argmax(np.bincount(truth[largest])))
    return Stroke(label, along_middle(largest & (truth == label), length, width) & (truth == label))


def marking(truth: UInt8[np.ndarray, "y x"], label: int, *, length: int, width: int) -> Stroke:
    """The stroke in the largest region of a class, or in the deepest of the background, which is all one region."""
    region = truth == label
    regions, _ = ndimage.label(region)
    largest = regions == 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    return Stroke(label, along_middle(largest, length, width) & region)


def along_middle(region: Bool[np.ndarray, "y x"], length: int, width: int) -> Bool[np.ndarray, "y x"]:
    """A stroke through the deepest point of a region, along its skeleton, as wide as the brush."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    start = np.unravel_index(int(depth.argmax()), depth.shape)
    middle = skeletonize(region)
    middle[start] = True
    stroke = np.zeros_like(region)
    stroke[start] = True
    reach = ndimage.binary_dilation(stroke, AROUND, iterations=2)  # the skeleton may pass beside the deepest point
    stroke = ndimage.binary_propagation(stroke, AROUND, (middle | reach) & region & _near(region.shape, start, length))
    stroke &= middle
    brush = np.hypot(*np.mgrid[-(width // 2) : width // 2 + 1, -(width // 2) : width // 2 + 1]) <= width / 2
    return ndimage.binary_dilation(stroke, brush)


def _near(shape: tuple[int, ...], point: tuple[np.intp, ...], length: int) -> Bool[np.ndarray, "y x"]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    near: np.ndarray = np.hypot(y - point[0], x - point[1]) <= length / 2
    return near
