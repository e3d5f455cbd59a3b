"""Areas as lengths of runs: pixels outside and inside in turn, the first run outside, down columns or along rows.

COCO counts down the columns of a whole image, and packs counts into text, six bits a character; CVAT counts along the
rows of a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt

from ...errors import DataError
from ..image_files.raster import MAX_PIXELS
from ..image_files.source import Box
from .drawing import Part

Counts = Int[np.ndarray, "run"]
_MOST_CHARACTERS = 7  # of one number: 35 bits


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
        reached = _reach(self.counts, height if self.by_columns else width)
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


class _Reach(NamedTuple):
    """The smallest box about the pixels inside, in lines and places in a line, and the runs inside it."""

    line: int
    place: int
    n_lines: int
    n_places: int
    starts: Int[np.ndarray, "inside"]
    stops: Int[np.ndarray, "inside"]


def _reach(counts: Counts, length: int) -> _Reach | None:
    """What runs along lines of this length reach; None where nothing is inside."""
    ends = np.cumsum(counts)
    inside = np.flatnonzero(counts[1::2]) * 2 + 1
    if not len(inside):
        return None
    first, last = ends[inside - 1], ends[inside] - 1
    is_whole = bool((first // length != last // length).any())
    place = 0 if is_whole else int((first % length).min())
    n_places = length if is_whole else int((last % length).max()) + 1 - place
    line, n_lines = int(first[0] // length), int(last[-1] // length - first[0] // length) + 1

    def within(pixel: Counts) -> Counts:
        return (pixel // length - line) * n_places + pixel % length - place

    return _Reach(line, place, n_lines, n_places, within(first), within(last) + 1)


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


def pack(counts: Counts) -> str:
    """Counts as COCO's text: differences to the last but one from the fourth on, five bits and one for "more" each."""
    left = counts.astype(np.int64)
    left[3:] -= counts[1:-2]
    pieces, more = [], np.ones(len(counts), bool)
    while more.any():
        piece = left & 31
        left = left >> 5
        is_used, more = more, more & np.where(piece & 16, left != -1, left != 0)
        pieces.append(np.where(is_used, piece + np.where(more, 32, 0) + 48, 0))
    return np.stack(pieces, 1).astype(np.uint8).tobytes().replace(b"\0", b"").decode("ascii")


def unpack(text: str) -> Counts:
    """Counts from COCO's text.

    Raises:
        DataError: The text is not COCO's.
    """
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    is_last = codes & 32 == 0
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or not is_last[-1]:
        raise DataError(f"compressed runs are broken: {text[:20]!r}")
    starts = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    length = np.diff(starts, append=len(codes))
    if length.max() > _MOST_CHARACTERS:
        raise DataError(f"compressed runs are broken: a number of {length.max()} characters")
    place = np.arange(len(codes)) - np.repeat(starts, length)
    counts = np.add.reduceat((codes & 31) << (5 * place), starts)
    counts -= np.where(codes[is_last] & 16, 1 << (5 * length), 0)
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts


def object_runs(objects: UInt[np.ndarray, "y x"]) -> Iterator[tuple[int, Counts]]:
    """Number and column-wise counts over the whole image of each object, in order of the numbers."""
    flat = objects.T.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends, numbers = np.append(starts[1:], flat.size), flat[starts]
    order = np.argsort(numbers, kind="stable")
    found, first = np.unique(numbers[order], return_index=True)
    for number, runs in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        if number:
            bounds = np.stack([starts[runs], ends[runs]], 1).ravel()
            yield number, np.diff(bounds, prepend=0, append=flat.size)[: None if bounds[-1] < flat.size else -1]


def box_of(counts: Counts, height: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the smallest box about column-wise counts that are not all outside."""
    reached = _reach(counts, height)
    assert reached is not None
    return reached.line, reached.place, reached.n_lines, reached.n_places
