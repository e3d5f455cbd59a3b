"""Pixels as rows of numbers: read from a cache, for any classifier, and put in the place of one, for a pixel head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, Shaped, UInt8

from ...cache.format.blocks import Block
from ...cache.format.manifest import Manifest, RowKey
from ...cache.format.maps import StoredMaps
from ...cache.format.samples import IGNORE, SampleRow, SampleTable
from ...cache.format.spec import FeatureSpec
from ...cache.reader import FeatureReader
from ...errors import DataError
from ...stages.features.sampling import sample_pixels
from ...stages.seeds import named_generator
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.splits import has_labels

ONLY = 0
"""Block, timestep and row of a matrix in the place of a cache."""


class PixelMatrix(NamedTuple):
    """Labelled pixels of several samples; `X, y, groups = ...` as scikit-learn names them."""

    X: Float32[np.ndarray, "pixel channel"]
    """Activations of blocks at each timestep, then of layers, then the filters, at the pixel, side by side."""
    y: UInt8[np.ndarray, "pixel"]
    """Class indices, 0 the background."""
    groups: Shaped[np.ndarray, "pixel"]
    """The patient or whole image of each pixel, for splits that keep groups whole."""


def read_pixels(data: CachedFeatures, rows: Sequence[SampleRow], n_per_image: int, seed: int) -> PixelMatrix:
    """Draw labelled pixels of each row, evenly and with replacement, whatever other rows are read.

    Args:
        data: the cache as a head sees it.
        rows: of it; those without a label are left out.
        n_per_image: pixels of each row.
        seed: of the draw.

    Raises:
        DataError: if no row is labelled.
    """
    labelled = [row for row in rows if has_labels(data.reader, row)]
    if not labelled:
        raise DataError(f"none of {len(rows)} samples is labelled; there are no pixels to learn from")
    features, labels = [], []
    for row in labelled:
        truth = data.labels(row)
        drawn = sample_pixels(truth, n_per_image, data.ignore, named_generator(seed, "pixels", row.id))
        features.append(np.concatenate([one.float().numpy() for one in data.gather(row, drawn).values()], axis=1))
        labels.append(truth.flatten()[drawn].numpy())
    groups = np.repeat([row.group for row in labelled], n_per_image)
    return PixelMatrix(np.concatenate(features), np.concatenate(labels), groups)


class PixelReader(FeatureReader):
    """Rows of numbers as the pixels of one square image in memory, in the place of a cache.

    A pixel head looks at one pixel at a time, so that any place does. Places that are left repeat the first rows,
    without labels.

    Args:
        pixels: numbers.
        labels: class indices, below IGNORE.
        n_classes: of the labels.
    """

    def __init__(
        self, pixels: Float32[np.ndarray, "pixel channel"], labels: UInt8[np.ndarray, "pixel"], n_classes: int
    ) -> None:
        n_pixels, n_channels = pixels.shape
        side = math.isqrt(n_pixels - 1) + 1
        spec = FeatureSpec(
            unet="pixels", unet_digest="", prediction_type="", noise="shared", noise_draws=1, seed=0,
            image_size=side, window=None, dtype="float32", rows_per_shard=1,
        )  # fmt: skip
        row = SampleRow("pixels", "pixels", "pixels", "train", ONLY, None, (side, side), "", "", "pixels", None)
        self.root = Path("pixels")
        self.manifest = Manifest(
            spec,
            (RowKey(row.id, ""),),
            {ONLY: (side, side, n_channels)},
            classes={"classes": {index: str(index) for index in range(n_classes)}},
        )
        self.table = SampleTable("", (), (row,))
        self.pairs = frozenset({(ONLY, ONLY)})
        self._map = np.resize(pixels, (side, side, n_channels))
        self._labels = np.full((side, side), IGNORE, np.uint8)
        self._labels.flat[:n_pixels] = labels

    def stored(self, block: Block, timestep: int, row: int) -> StoredMaps:
        """All the numbers."""
        del block, timestep, row
        return StoredMaps(self._map)

    def labels(self, row: int) -> npt.NDArray[np.uint8]:
        """Class indices; IGNORE where there is no row of numbers."""
        del row
        return self._labels
