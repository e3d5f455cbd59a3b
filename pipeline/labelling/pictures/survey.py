"""Coarse copy of an image whose file holds none: blurred at first, exact when every part of the file was read.

The parts are read in an order in which the first few are spread over the image; what was not read yet shows the mean
colour of its neighbour that was. Whoever waits for the copy helps to make it, in as many threads as wait.
"""

from __future__ import annotations

import threading
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
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
SurveyPart = tuple[int, int, int]
"""Row and column of a native tile, and how many tiles on a side it stands for."""


class SlideSurvey:
    """The copy, and what is left to read of it. Safe in threads."""

    def __init__(self, image: Regions, stopped: threading.Event) -> None:
        """Of an opened image; nothing more of it is read once `stopped` is set."""
        self._image, self._stopped = image, stopped
        self.level = FINEST
        while max(level_size(image.size, self.level)) > LONGEST:
            self.level += 1
        self.picture: UInt8[np.ndarray, "y x 3"] = np.full((*level_size(image.size, self.level), 3), 255, np.uint8)
        self._parts, self._n_first = _spread(-(-image.size[0] // TILE), -(-image.size[1] // TILE))
        self._read: Bool[np.ndarray, "row column"] = np.zeros([-(-n // TILE) for n in image.size], bool)
        self._n_taken = self._n_done = 0
        self._changed = threading.Condition()
        self._error: Exception | None = None

    @property
    def sharpness(self) -> Sharpness:
        """How much the copy shows."""
        return 2 if self._n_done == len(self._parts) else 1 if self._n_done >= self._n_first else 0

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
            parts = self._parts[self._n_taken : self._n_taken + _AT_ONCE]
            self._n_taken += len(parts)
        for part in parts:
            try:
                self._add(part)
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

    def _add(self, part: SurveyPart) -> None:
        row, column, n_tiles = part
        top, left = row * TILE, column * TILE
        height, width = min(TILE, self._image.size[0] - top), min(TILE, self._image.size[1] - left)
        shrunk = reduced(self._image.read(top, left, height, width), 2**self.level)
        with self._changed:
            colour = shrunk.mean(axis=(0, 1)).round().astype(np.uint8)
            for y, x in product(
                *(range(at // n_tiles * n_tiles, (at // n_tiles + 1) * n_tiles) for at in (row, column))
            ):
                if y < self._read.shape[0] and x < self._read.shape[1] and not self._read[y, x]:
                    self._part(y, x)[...] = colour
            self._part(row, column)[...] = shrunk
            self._read[row, column] = True
            self._n_done += 1
            self._changed.notify_all()

    def _part(self, row: int, column: int) -> UInt8[np.ndarray, "y x 3"]:
        side = TILE >> self.level
        return self.picture[row * side : (row + 1) * side, column * side : (column + 1) * side]


def reduced(pixels: UInt8[np.ndarray, "y x 3"], factor: int) -> UInt8[np.ndarray, "y2 x2 3"]:
    """Means of blocks of factor x factor pixels; those at the lower and right border may be smaller."""
    return np.asarray(Image.fromarray(pixels).reduce(factor))


def _spread(n_rows: int, n_columns: int) -> tuple[list[SurveyPart], int]:
    """Every tile once, first some hundred that are spread evenly; and how many those are.

    The rest comes in squares, so that parts of a file that are larger than a tile are decoded once.
    """
    n_tiles = 1
    while -(-n_rows // n_tiles) * -(-n_columns // n_tiles) > _FIRST_PARTS:
        n_tiles *= 2
    half = n_tiles // 2
    centres = {
        (min(row + half, n_rows - 1), min(column + half, n_columns - 1))
        for row, column in product(range(0, n_rows, n_tiles), range(0, n_columns, n_tiles))
    }
    rest = {*product(range(n_rows), range(n_columns))} - centres
    in_squares = sorted(rest, key=lambda at: (at[0] // _SQUARE, at[1] // _SQUARE, at))
    return [*((*at, n_tiles) for at in sorted(centres)), *((*at, 1) for at in in_squares)], len(centres)
