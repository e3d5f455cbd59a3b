"""Thumbnails of predictions, taken while samples are scored: the head never runs twice for them.

Of a slide, whose probabilities come in bands, pixels are picked from each band; a sample is kept as three byte maps of
at most `SIDE` pixels, compressed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ...cache.format.samples import IGNORE, SampleRow
from ...cache.reader import FeatureReader
from ...stages.metrics.overlap import likeliest
from ...stages.metrics.uncertainty import mean_and_uncertainty
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.splits import originals
from ..image_files.source import Box
from ..scoring.counts import LabelledBand

SIDE = 320
"""Pixels of the longer side, at most."""


@dataclass(frozen=True)
class Thumbnail:
    """Thumbnail of a sample."""

    image: UInt8[np.ndarray, "y x 3"]
    truth: UInt8[np.ndarray, "y x"]
    """Class indices; IGNORE where not labelled."""
    predicted: UInt8[np.ndarray, "y x"]
    uncertainty: Float[np.ndarray, "y x"]
    """√(u / ln classes) in [0, 1], as `predict --uncertainty` writes it."""
    text: str
    """Text for the head; "": none."""


class Gallery:
    """Collects thumbnails of the samples of a cache.

    Args:
        data: the cache as the head sees it.
    """

    def __init__(self, data: CachedFeatures) -> None:
        self.reader, self._text_of, self._spec = data.reader, data.text_of, data.reader.manifest.features
        self._kept: dict[str, bytes] = {}

    def add(self, row: SampleRow, members: Float[Tensor, "member n_classes y x"], labels: UInt8[Tensor, "y x"]) -> None:
        """Add the prediction for one row of the cache, a tile or a whole image.

        Args:
            row: of the cache, as it is.
            members: probabilities of each member of the head.
            labels: class indices of the same pixels.
        """
        tile = self._spec.tile
        self._paint(row, (0, 0, *row.size) if tile is None else (*row.tile, tile, tile), members, labels)

    def watch(self, row: SampleRow, bands: Iterable[LabelledBand]) -> Iterator[LabelledBand]:
        """Add the bands of a sample as they pass.

        Args:
            row: the first of the sample.
            bands: from top to bottom; of an image without tiles a single one, of any size.
        """
        top = 0
        for members, labels in bands:
            height = row.size[0] if self._spec.tile is None else labels.shape[0]
            self._paint(row, (top, 0, height, row.size[1]), members, labels)
            top += height
            yield members, labels

    def show(self, sample_id: str) -> Thumbnail:
        """Thumbnail of a sample that was added."""
        rows = [row for row in originals(self.reader.samples) if row.parent == sample_id]
        truth, predicted, uncertainty = self._planes(rows[0])
        text = self._text_of[rows[0].id]
        image = _small_image(self.reader, rows, truth.shape)
        return Thumbnail(
            image,
            truth,
            predicted,
            uncertainty / np.float32(255),
            "" if text is None else self.reader.table.texts[text],
        )

    def _paint(
        self, row: SampleRow, box: Box, members: Float[Tensor, "member n_classes y x"], labels: UInt8[Tensor, "y x"]
    ) -> None:
        planes = self._planes(row)
        ys, from_y = _centres(planes.shape[1], row.size[0], box[0], box[2], labels.shape[0])
        xs, from_x = _centres(planes.shape[2], row.size[1], box[1], box[3], labels.shape[1])
        mean, unsure = mean_and_uncertainty(members[:, :, from_y][..., from_x])
        grey = (unsure / math.log(len(mean))).clamp(0, 1).sqrt().mul(255).round()
        picked = (labels[from_y][:, from_x], likeliest(mean), grey)
        planes[:, ys[:, None], xs] = torch.stack([plane.byte().cpu() for plane in picked]).numpy()
        self._kept[row.parent] = zlib.compress(planes.tobytes(), 1)

    def _planes(self, row: SampleRow) -> UInt8[np.ndarray, "3 y x"]:
        """Truth, prediction and uncertainty of the pixels so far."""
        shape = thumbnail_size(row.size, self._spec.image_size if self._spec.tile is None else SIDE)
        if row.parent in self._kept:
            return np.frombuffer(zlib.decompress(self._kept[row.parent]), np.uint8).reshape(3, *shape).copy()
        planes = np.zeros((3, *shape), np.uint8)
        planes[0] = IGNORE
        return planes


def thumbnail_size(size: tuple[int, int], at_most: int) -> tuple[int, int]:
    """Height and width of an image's thumbnail, in the image's proportions."""
    scale = min(1.0, min(SIDE, at_most) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _centres(
    n_pixels: int, size: int, start: int, length: int, n_source: int
) -> tuple[Int[np.ndarray, "pixel"], Int[np.ndarray, "pixel"]]:
    """Along an axis: the thumbnail's pixels whose centres lie in a stretch, and where in its source they lie.

    Args:
        n_pixels: of the thumbnail.
        size: of the native image.
        start: where the stretch begins in the native image.
        length: of the stretch in native pixels.
        n_source: pixels of the source, which shows the stretch.
    """
    centres = (np.arange(n_pixels) + 0.5) * size / n_pixels - start
    inside = np.flatnonzero((centres >= 0) & (centres < length))
    return inside, (centres[inside] * n_source / length).astype(int)


def _small_image(
    reader: FeatureReader, rows: Sequence[SampleRow], shape: tuple[int, ...]
) -> UInt8[np.ndarray, "y x 3"]:
    """The image as the cache holds it: as the model saw it, of a slide tile by tile."""
    from PIL import Image

    tile = reader.manifest.features.tile
    canvas = Image.new("RGB", (shape[1], shape[0]))
    scale = (shape[0] / rows[0].size[0], shape[1] / rows[0].size[1])
    for row in rows:
        height, width = (tile, tile) if tile else row.size
        top, left = (round(offset * share) for offset, share in zip(row.tile, scale, strict=True))
        bottom, right = round((row.tile[0] + height) * scale[0]), round((row.tile[1] + width) * scale[1])
        small = (max(1, right - left), max(1, bottom - top))
        canvas.paste(Image.fromarray(reader.image(row.row)).resize(small, Image.Resampling.LANCZOS), (left, top))
    return np.asarray(canvas)
