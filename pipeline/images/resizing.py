"""Image and mask files as arrays, and the two ways of resizing them: one for light, one for labels.

Images are RGB (never BGR), uint8, [y, x, 3]. Masks keep the values that stand in the file. Both are read strictly: a
file that a lenient viewer would still show in part is an error here.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ...cache.format.samples import IGNORE


def resize_image(image: UInt8[np.ndarray, "y x 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "y2 x2 3"]:
    """Resize to `size` = (y, x) with Pillow's bilinear filter, which averages over the source when shrinking."""
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_labels(labels: UInt8[np.ndarray, "y x"], size: tuple[int, int]) -> UInt8[np.ndarray, "y2 x2"]:
    """Resize to `size` = (y, x) by nearest neighbour, so that no label is invented, and none is lost to IGNORE.

    Target pixel i takes the source pixel its centre falls into: floor((i + 1/2) · n_source / n_target), in integers.
    Where that is IGNORE, it takes the labelled one nearest to it among those whose centres fall into pixel i, if there
    are any: a stroke or a click thinner than a target pixel stays.
    """
    rows, columns = (_nearest(n_source, n) for n_source, n in zip(labels.shape, size, strict=True))
    resized: np.ndarray = labels[np.ix_(rows, columns)]
    if (resized == IGNORE).any():
        _keep_strokes(resized, labels, rows, columns)
    return resized


def _keep_strokes(
    resized: UInt8[np.ndarray, "y2 x2"], labels: UInt8[np.ndarray, "y x"], rows: np.ndarray, columns: np.ndarray
) -> None:
    """Fill IGNORE in place with labels that fall there; `rows` and `columns` are the source pixels that were taken."""
    row_of, column_of = (_nearest(n, n_source) for n_source, n in zip(labels.shape, resized.shape, strict=True))
    lost = (labels != IGNORE) & (resized == IGNORE)[np.ix_(row_of, column_of)]
    y, x = lost.nonzero()
    target_y, target_x = row_of[y], column_of[x]
    farness = (y - rows[target_y]) ** 2 + (x - columns[target_x]) ** 2
    last = np.argsort(-farness, kind="stable")  # of several values for one place, the last one written stays
    resized[target_y[last], target_x[last]] = labels[y[last], x[last]]


def _nearest(n_source: int, n_target: int) -> np.ndarray:
    return (2 * np.arange(n_target) + 1) * n_source // (2 * n_target)
