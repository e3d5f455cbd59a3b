"""True labels of samples from the cache, at the model's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from ...cache.format.samples import IGNORE, SampleRow
from ...cache.reader import FeatureReader
from ..images.resizing import resize_labels

LabelsOf = Callable[[Sequence[SampleRow], int, int], UInt8[np.ndarray, "y x"]]
"""Rows of one image, first row of pixels, number of rows → class indices over the image's whole width."""

ObjectsOf = Callable[[SampleRow], Int[np.ndarray, "y x"]]
"""A row of an image → its true instances at native size, numbered, 0 elsewhere."""


def cached_labels(reader: FeatureReader, rows: Sequence[SampleRow], top: int, height: int) -> UInt8[np.ndarray, "y x"]:
    """Labels of a band, from the tiles that begin where it begins: they reach down to its end."""
    tile, width = reader.manifest.features.tile or 0, rows[0].size[1]
    labels = np.full((height, width), IGNORE, np.uint8)
    for row in rows:
        if row.tile[0] == top:
            left = row.tile[1]
            native = resize_labels(reader.labels(row.row), (tile, tile))
            labels[:, left : left + tile] = native[:height, : width - left]
    return labels
