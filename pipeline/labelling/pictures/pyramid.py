"""Levels of one image, each half as fine as the one before, in bounded memory whatever the file holds."""

from __future__ import annotations

import threading

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..strokes.tiles import TILE, Key, level_box, level_size, n_levels_of
from .levels import Copy
from .survey import Sharpness, SlideSurvey, reduced

_LAZY_BYTES = 2**26
"""Decoded parts of a file that a reader keeps."""


class Pyramid:
    """Tiles of an opened image. Safe in threads."""

    def __init__(self, copies: tuple[Copy, ...], stopped: threading.Event) -> None:
        """Of the image and its smaller copies; nothing waits any longer once `stopped` is set."""
        self._copies = copies
        self.size = copies[0].image.size
        whole = self.size[0] * self.size[1] * 3
        self.size_bytes = whole if copies[0].is_whole else _LAZY_BYTES
        """In memory, at most."""
        coarsest = n_levels_of(self.size) - 1
        self.survey = None if any(copy.suits(coarsest) for copy in copies) else SlideSurvey(copies[0].image, stopped)
        """Of an image without smaller copies that is too large to be read anew for each of its coarse tiles."""

    def sharpness(self, level: int) -> Sharpness:
        """How well a tile of the level can be shown now."""
        return 2 if self.survey is None or level < self.survey.level else self.survey.sharpness

    def tile(self, key: Key) -> UInt8[np.ndarray, "y x 3"]:
        """A tile that begins in the image, cut at its border; blurred where the survey is not done.

        Raises:
            DataError: The file is broken.
        """
        box = level_box(self.size, key)
        assert box is not None
        level = key[0]
        if self.survey is None or level < self.survey.level:
            return self._nearest(level).shrunk(level, box)
        self.survey.wait(1)
        factor = 2 ** (level - self.survey.level)
        top, left, height, width = (n * factor for n in box)
        return reduced(self.survey.picture[top : top + height, left : left + width], factor)

    def shrunk(self, side: int) -> UInt8[np.ndarray, "y x 3"]:
        """The whole image with its longer side of so many pixels; not enlarged.

        Raises:
            DataError: The file is broken.
        """
        levels = range(n_levels_of(self.size))
        level = max([0, *(n for n in levels if max(level_size(self.size, n)) >= side)])
        height, width = level_size(self.size, level)
        whole = np.zeros((height, width, 3), np.uint8)
        for row in range(-(-height // TILE)):
            for column in range(-(-width // TILE)):
                pixels = self.tile((level, column, row))
                whole[row * TILE :, column * TILE :][: pixels.shape[0], : pixels.shape[1]] = pixels
        picture = Image.fromarray(whole)
        picture.thumbnail((side, side))
        return np.asarray(picture)

    def _nearest(self, level: int) -> Copy:
        """The coarsest copy that is fine enough."""
        return [copy for copy in self._copies if copy.is_finer(level)][-1]
