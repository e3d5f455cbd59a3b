"""Images as overlapping square tiles, and tiles' results as whole images again, a band of rows at a time.

Offsets go row by row, so that when a row of tiles is done, everything above the next row's top is final: blending
holds one strip of the image as high as a tile, however large the image is. A whole image that was resized to the
model's size is the case of one tile and one band.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ...errors import ConfigError
from .tiff import Box

Offset = tuple[int, int]
"""(y, x) of a tile's upper left pixel in the native image."""

Band = tuple[int, Float[Tensor, "member n_classes y x"]]
"""The first row, and each member's probabilities of it and the rows below, over the image's whole width."""


class Source(Protocol):
    """An image that can be read in parts."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
        """The pixels of a rectangle that lies in the image."""

    def boxes(self) -> Iterator[Box]:
        """Rectangles (top, left, height, width) that cover the image; reading them in turn decodes everything once."""


def tile_offsets(size: tuple[int, int], tile: int, overlap: int) -> tuple[Offset, ...]:
    """Where the tiles of an image lie, row by row.

    Neighbours share `overlap` pixels; the last of an axis ends at the border and shares more. An axis that is
    shorter than a tile has one, which reaches beyond the image.

    Args:
        size: height and width of the image in pixels.
        tile: side of a tile in pixels.
        overlap: in [0, tile).

    Raises:
        ConfigError: if tiles that overlap so much would never get across the image.
    """
    if not 0 <= overlap < tile:
        raise ConfigError(f"--tile-overlap got {overlap}; expected a number from 0 to {tile - 1}, below --tile")
    tops, lefts = (_starts(length, tile, tile - overlap) for length in size)
    return tuple((top, left) for top in tops for left in lefts)


def _starts(length: int, tile: int, stride: int) -> list[int]:
    last = max(length - tile, 0)
    return [*range(0, last, stride), last]


def pad_to_tile(part: UInt8[np.ndarray, "y x *c"], tile: int, fill: int | None) -> UInt8[np.ndarray, "tile tile *c"]:
    """Complete what lies in the image to a square, below and on the right.

    Args:
        part: at most `tile` pixels along either axis.
        tile: side of the square.
        fill: the value to complete with; `None`: the image mirrored at its border, as often as needed.
    """
    missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), *[(0, 0)] * (part.ndim - 2)]
    if fill is None:
        return np.pad(part, missing, mode="symmetric")
    return np.pad(part, missing, constant_values=fill)


def cut_tiles(source: Source, offsets: Sequence[Offset], tile: int) -> Iterator[UInt8[np.ndarray, "tile tile 3"]]:
    """The tiles at the offsets, read one by one, however wide the image is."""
    height, width = source.size
    for top, left in offsets:
        yield pad_to_tile(source.read(top, left, min(tile, height - top), min(tile, width - left)), tile, None)


def native_probabilities(
    logits: Float[Tensor, "member n_classes y x"], size: tuple[int, int]
) -> Float[Tensor, "member n_classes y2 x2"]:
    """Probabilities at the image's own size: softmax at the model's, then bilinear interpolation."""
    return F.interpolate(logits.softmax(1), size=size, mode="bilinear", align_corners=False)


def whole_image(
    logits: Iterable[Float[Tensor, "member n_classes y x"]],
    size: tuple[int, int],
    tile: int | None,
    offsets: Sequence[Offset],
) -> Iterator[Band]:
    """Probabilities of a whole image at its own size, from the logits of a head's members at the model's.

    All that happens here is linear in probabilities, so that what members disagree on can be read off at its end.

    Args:
        logits: of the image's tiles in the offsets' order, taken one by one; of an image without tiles one alone.
        size: height and width of the image in pixels.
        tile: side of a tile in native pixels; `None`: the image was not cut but resized.
        offsets: of the tiles; not looked at without tiles.
    """
    if tile is None:
        yield from ((0, native_probabilities(one, size)) for one in logits)
    else:
        side = (tile, tile)
        yield from blend((native_probabilities(one, side) for one in logits), offsets, size)


def blend(
    tiles: Iterable[Float[Tensor, "member n_classes tile tile"]], offsets: Sequence[Offset], size: tuple[int, int]
) -> Iterator[Band]:
    """The weighted mean of overlapping tiles: near its border a tile counts little, so that joins leave no seam.

    Args:
        tiles: probabilities in the offsets' order, taken one by one.
        offsets: as `tile_offsets` gives them.
        size: height and width of the image; what a tile has beyond it is dropped.

    Yields:
        Bands from top to bottom, one for each row of tiles, as soon as nothing can change them any more.
    """
    coming, strip = iter(tiles), _Strip(size[1])
    rows = [(top, [left for _, left in row]) for top, row in groupby(offsets, key=itemgetter(0))]
    ends = [top for top, _ in rows[1:]] + [size[0]]
    for (top, lefts), end in zip(rows, ends, strict=True):
        for left in lefts:
            strip.add(next(coming), left)
        yield top, strip.take(end - top)


def blending_window(tile: int) -> Float[Tensor, "tile tile"]:
    """How much each pixel of a tile counts: w(y)·w(x) with w(i) = sin²(π(i + ½) / tile), in (0, 1].

    The raised cosine (Hann window) at the pixels' centres, so that no weight is 0; along an axis the weights of
    tiles that overlap by half add up to 1 everywhere.
    """
    centres = (torch.arange(tile, dtype=torch.float64) + 0.5) / tile
    weights = (math.pi * centres).sin().square()
    return torch.outer(weights, weights).float()


class _Strip:
    """Sums of weighted tiles, and of the weights, over the image's width and one tile's height."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._sums: Float[Tensor, "member n_classes tile x"] | None = None

    def add(self, tile: Float[Tensor, "member n_classes tile tile"], left: int) -> None:
        """Add a tile, whose first row is the strip's."""
        side = tile.shape[-1]
        if self._sums is None:
            self._window = blending_window(side).to(tile.device)
            self._sums = tile.new_zeros(*tile.shape[:-1], self._width)
            self._weights = tile.new_zeros(side, self._width)
        width = min(side, self._width - left)
        self._sums[..., left : left + width] += (tile * self._window)[..., :width]
        self._weights[:, left : left + width] += self._window[:, :width]

    def take(self, n_rows: int) -> Float[Tensor, "member n_classes y x"]:
        """The mean in the first rows, which leave the strip."""
        if self._sums is None:
            raise AssertionError("an image has at least one tile")
        mean = self._sums[..., :n_rows, :] / self._weights[:n_rows]
        self._sums, self._weights = (F.pad(x[..., n_rows:, :], (0, 0, 0, n_rows)) for x in (self._sums, self._weights))
        return mean
