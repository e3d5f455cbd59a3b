"""Coarse copy of an image whose file holds none: blurred at first, exact when every part of the file was read.

The parts are read in an order in which the first few are spread over the image; their mean colours, with all between
them interpolated, are what one sees where not every part of a square was read yet. Whoever waits for the copy helps to
make it, in as many threads as wait.
"""

from __future__ import annotations

import threading
from collections import Counter
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ....errors import LabelError
from ...image_files.reading import Regions
from ..strokes.tiles import TILE, level_size

Sharpness = Literal[0, 1, 2]
"""Nothing to see; a blurred copy; the exact one."""

FINEST, LONGEST = 3, 4096
"""The copy's level is the first from `FINEST` on at which the image has at most `LONGEST` pixels along a side."""
_FIRST_PARTS = 400
_AT_ONCE = 8
_SQUARE = 4
_LOOK_S = 0.1
_EVERY = 8
"""A new version for each eighth of the parts."""
SurveyPart = tuple[int, int]
"""Row and column of a native tile."""


class SlideSurvey:
    """The copy, and what is left to read of it. Safe in threads."""

    def __init__(self, image: Regions, stopped: threading.Event) -> None:
        """Of an opened image; nothing more of it is read once `stopped` is set."""
        self._image, self._stopped = image, stopped
        self.level = FINEST
        while max(level_size(image.size, self.level)) > LONGEST:
            self.level += 1
        self.picture: UInt8[np.ndarray, "y x 3"] = np.full((*level_size(image.size, self.level), 3), 255, np.uint8)
        self._exact = self.picture.copy()
        n_rows, n_columns = (-(-n // TILE) for n in image.size)
        self._parts, self._apart = _spread(n_rows, n_columns)
        self._colours = np.zeros((-(-n_rows // self._apart), -(-n_columns // self._apart), 3), np.uint8)
        self._n_blank = self._colours.shape[0] * self._colours.shape[1]
        self._n_left = Counter((row // _SQUARE, column // _SQUARE) for row, column in self._parts)
        self._n_taken = self._n_done = 0
        self._changed = threading.Condition()
        self._error: Exception | None = None

    @property
    def sharpness(self) -> Sharpness:
        """How much the copy shows."""
        return 2 if self._n_done == len(self._parts) else 1 if self._n_blank == 0 else 0

    @property
    def version(self) -> int:
        """A number that grows a few times while the copy gets sharper."""
        return self._n_done * _EVERY // len(self._parts)

    def advance(self) -> bool:
        """Read a few more parts, if any is left; returns whether one was.

        Raises:
            DataError: The file is broken.
        """
        if self._stopped.is_set():
            return False
        with self._changed:
            first = self._n_taken
            parts = self._parts[first : first + _AT_ONCE]
            self._n_taken += len(parts)
        for place, part in enumerate(parts, start=first):
            try:
                self._add(place, part)
            except Exception as error:
                with self._changed:
                    self._error, self._n_taken = error, len(self._parts)
                    self._changed.notify_all()
                raise
        return bool(parts)

    def wait(self, sharpness: Sharpness) -> None:
        """Help until the copy is that sharp.

        Raises:
            DataError: The file is broken.
            LabelError: Reading was stopped.
        """
        while self.sharpness < sharpness and self._error is None and not self._stopped.is_set():
            if not self.advance():
                with self._changed:
                    self._changed.wait(_LOOK_S)
        if self._error is not None:
            raise self._error
        if self.sharpness < sharpness:
            raise LabelError("the picture is not there", "the end of the server", "a server", "start it", "conflict")

    def _add(self, place: int, part: SurveyPart) -> None:
        top, left = part[0] * TILE, part[1] * TILE
        height, width = min(TILE, self._image.size[0] - top), min(TILE, self._image.size[1] - left)
        shrunk = reduced(self._image.read(top, left, height, width), 2**self.level)
        with self._changed:
            self._exact[self._shown(part, 1)] = shrunk
            square = part[0] // _SQUARE, part[1] // _SQUARE
            self._n_left[square] -= 1
            self._n_done += 1
            if place < self._colours.shape[0] * self._colours.shape[1]:
                self._colours[part[0] // self._apart, part[1] // self._apart] = shrunk.mean(axis=(0, 1)).round()
                self._n_blank -= 1
                if self._n_blank == 0:
                    self._blur()
            if self._n_left[square] == 0 and self._n_blank == 0:
                self._sharpen(square)
            self._changed.notify_all()

    def _blur(self) -> None:
        """Show the colours of the first parts, and all squares that are done."""
        height, width = (n * self._apart * (TILE >> self.level) for n in self._colours.shape[:2])
        smooth = Image.fromarray(self._colours).resize((width, height), Image.Resampling.BICUBIC)
        self.picture[...] = np.asarray(smooth)[: self.picture.shape[0], : self.picture.shape[1]]
        for square, n_left in self._n_left.items():
            if n_left == 0:
                self._sharpen(square)

    def _sharpen(self, square: SurveyPart) -> None:
        area = self._shown((square[0] * _SQUARE, square[1] * _SQUARE), _SQUARE)
        self.picture[area] = self._exact[area]

    def _shown(self, part: SurveyPart, n_tiles: int) -> tuple[slice, slice]:
        """Where the copy shows that many tiles on a side, from a part on."""
        side = TILE >> self.level
        row, column = part[0] * side, part[1] * side
        return slice(row, row + n_tiles * side), slice(column, column + n_tiles * side)


def reduced(pixels: UInt8[np.ndarray, "y x 3"], factor: int) -> UInt8[np.ndarray, "y2 x2 3"]:
    """Means of blocks of factor x factor pixels; those at the lower and right border may be smaller."""
    return np.asarray(Image.fromarray(pixels).reduce(factor))


def _spread(n_rows: int, n_columns: int) -> tuple[list[SurveyPart], int]:
    """Every tile once, first some hundred that are spread evenly; and how many tiles those are apart.

    The rest comes in squares, so that parts of a file that are larger than a tile are decoded once.
    """
    apart = 1
    while -(-n_rows // apart) * -(-n_columns // apart) > _FIRST_PARTS:
        apart *= 2
    first = [
        (min(row + apart // 2, n_rows - 1), min(column + apart // 2, n_columns - 1))
        for row, column in product(range(0, n_rows, apart), range(0, n_columns, apart))
    ]
    rest = {*product(range(n_rows), range(n_columns))}.difference(first)
    return [*first, *sorted(rest, key=lambda at: (at[0] // _SQUARE, at[1] // _SQUARE, at))], apart
