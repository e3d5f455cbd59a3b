"""Levels of one image, each half as fine as the one before; averaged tile by tile, never held whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ...image_files.reading import Regions
from ..byte_cache import ByteCache
from ..strokes.tiles import TILE, Key, level_box, level_size, n_levels_of, quarters

_KEPT_BYTES = 2**25


class Pyramid:
    """Tiles of an opened image."""

    def __init__(self, path: Path, image: Regions) -> None:
        self._path, self._image, self.size = path, image, image.size
        self._tiles: ByteCache[UInt8[np.ndarray, "y x 3"]] = ByteCache(_KEPT_BYTES)
        self.size_bytes = _KEPT_BYTES

    def tile(self, key: Key) -> UInt8[np.ndarray, "y x 3"]:
        """A tile that begins in the image, cut at its border."""
        box = level_box(self.size, key)
        assert box is not None
        if key[0] == 0:
            return self._image.read(*box)
        if (kept := self._tiles.get(key)) is not None:
            return kept
        fine = np.zeros((2 * TILE, 2 * TILE, 3), np.uint8)
        height, width = 0, 0
        for finer, part in quarters(key):
            if level_box(self.size, finer) is not None:
                pixels = self.tile(finer)
                top, left = 2 * part[0].start, 2 * part[1].start
                fine[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
                height, width = max(height, top + pixels.shape[0]), max(width, left + pixels.shape[1])
        tile = halve(fine[:height, :width])
        self._tiles.put(key, tile, tile.nbytes)
        return tile

    def shrunk(self, side: int) -> UInt8[np.ndarray, "y x 3"]:
        """The whole image with its longer side of so many pixels; not enlarged."""
        level = max(n for n in range(n_levels_of(self.size)) if n == 0 or max(level_size(self.size, n)) >= side)
        height, width = level_size(self.size, level)
        whole = np.zeros((height, width, 3), np.uint8)
        for row in range(-(-height // TILE)):
            for column in range(-(-width // TILE)):
                pixels = self.tile((level, column, row))
                top, left = row * TILE, column * TILE
                whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        picture = Image.fromarray(whole)
        picture.thumbnail((side, side))
        return np.asarray(picture)


def halve(pixels: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "y2 x2 3"]:
    """Half as many rows and columns, rounded up: the mean of four pixels, of the border's pixels as if repeated."""
    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)
