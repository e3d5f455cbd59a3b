"""Areas of run lengths, in the box that they fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....errors import DataError
from ...image_files.raster import MAX_PIXELS
from ...image_files.source import Box
from ..run_lengths import Counts, reach
from .drawing import Part


@dataclass(frozen=True)
class Runs:
    """An area in a box."""

    counts: Counts
    box: Box
    by_columns: bool

    def area(self) -> float:
        """Pixels."""
        return float(self.counts[1::2].sum())

    def draw(self, size: tuple[int, int]) -> Part:
        """The pixels in an image of (height, width)."""
        top, left, height, width = self.box
        reached = reach(self.counts, height if self.by_columns else width)
        if reached is None:
            return Part(0, 0, np.zeros((0, 0), bool))
        shape = (reached.n_lines, reached.n_places)
        bounds = np.stack([reached.starts, reached.stops], 1).ravel()
        counts = np.diff(bounds, prepend=0, append=shape[0] * shape[1])
        lines = np.repeat((np.arange(len(counts)) & 1).astype(bool), counts).reshape(shape)
        top += reached.place if self.by_columns else reached.line
        left += reached.line if self.by_columns else reached.place
        pixels = lines.T if self.by_columns else lines
        return Part(top, left, pixels[: max(size[0] - top, 0), : max(size[1] - left, 0)])


def runs_of(counts: object, box: Box, *, by_columns: bool) -> Runs:
    """An area from counts as JSON or XML has them.

    Raises:
        DataError: The counts are not those of a box of this size.
    """
    top, left, height, width = box
    if min(height, width) < 1 or min(top, left) < 0 or height * width > MAX_PIXELS:
        raise DataError(f"runs fill a box of {height} x {width} pixels at ({top}, {left}); at most {MAX_PIXELS} pixels")
    try:
        array: np.ndarray = np.asarray(counts, np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"lengths of runs are not whole numbers ({str(error)[:80]})") from error
    if array.ndim != 1 or (len(array) and not 0 <= array.min() <= array.max() <= height * width):
        raise DataError(f"lengths of runs are outside of 0 to {height * width}, the pixels of {height} x {width}")
    if array.sum() != height * width:
        raise DataError(f"runs are of {array.sum()} pixels, {height} x {width} are {height * width}")
    return Runs(array, box, by_columns)
