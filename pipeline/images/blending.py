"""Probabilities of overlapping tiles, blended to those of the whole image, band by band."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..image_files.source import Offset

Band = tuple[int, Float[Tensor, "member n_classes y x"]]
"""The first row, and each member's probabilities of it and the rows below, over the image's whole width."""


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
