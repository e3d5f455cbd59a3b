"""The file of an image with all smaller copies that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ....errors import DataError
from ...image_files.intensities import IntensityWindow
from ...image_files.paths import split_place
from ...image_files.reading import Regions, open_image
from ...image_files.source import Box
from ..strokes.tiles import TILE
from .survey import reduced

_TOLERANCE = 1.01
"""A scanner cuts the sizes of its copies to whole numbers: a downsampling of 4 is written as 4.0003."""
_MOST_READ = 2**22
"""Pixels of a file that is read in parts, for one tile."""


@dataclass(frozen=True)
class Copy:
    """The image, or a smaller copy of it in the same file."""

    image: Regions
    downsampling: tuple[float, float]
    """Pixels of the image to one of the copy, along y and x."""

    @property
    def is_whole(self) -> bool:
        """Whether one look decodes all of it."""
        return next(iter(self.image.boxes()))[2:] == self.image.size

    def is_finer(self, level: int) -> bool:
        """Whether it has as many pixels as a level, or more."""
        return max(self.downsampling) <= 2**level * _TOLERANCE

    def suits(self, level: int) -> bool:
        """Whether a tile of the level is made of few enough of its pixels, and of enough of them."""
        y, x = self._factors(level)
        return self.is_finer(level) and (self.is_whole or y * x * TILE * TILE <= _MOST_READ)

    def shrunk(self, level: int, box: Box) -> UInt8[np.ndarray, "y x 3"]:
        """A part of a level, averaged from the copy's pixels."""
        top, left, height, width = box
        (y, x), (n_rows, n_columns) = self._factors(level), self.image.size
        low = min(top * y, n_rows - 1), min(left * x, n_columns - 1)
        high = min((top + height) * y, n_rows), min((left + width) * x, n_columns)
        first, stop = (int(low[0]), int(low[1])), (-int(-high[0] // 1), -int(-high[1] // 1))
        pixels = self.image.read(*first, stop[0] - first[0], stop[1] - first[1])
        if y == x == int(y):
            return pixels if y == 1 else reduced(pixels, int(y))
        inside = (low[1] - first[1], low[0] - first[0], high[1] - first[1], high[0] - first[0])
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX, inside))

    def _factors(self, level: int) -> tuple[float, float]:
        """Its pixels to one of a level, along y and x."""
        return 2**level / self.downsampling[0], 2**level / self.downsampling[1]


def open_copies(path: Path, window: IntensityWindow | None) -> tuple[Copy, ...]:
    """The image and its copies, from fine to coarse.

    Raises:
        DataError: The file is broken, or needs a window.
    """
    image = open_image(path, window)
    copies = [Copy(image, (1.0, 1.0))]
    file, place = split_place(path)
    if copies[0].is_whole or place:
        return tuple(copies)
    while (coarser := _open_level(file, len(copies), window)) is not None:
        down = tuple(whole / part for whole, part in zip(image.size, coarser.size, strict=True))
        copies.append(Copy(coarser, (down[0], down[1])))
    return tuple(copies)


def _open_level(file: Path, level: int, window: IntensityWindow | None) -> Regions | None:
    try:
        return open_image(file.with_name(f"{file.name}#level={level}"), window)
    except DataError:
        return None
