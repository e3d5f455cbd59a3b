"""Areas as lengths of runs: pixels outside and inside in turn, the first run outside, down columns or along rows.

COCO counts down the columns of a whole image, and packs counts into text, six bits a character; CVAT counts along the
rows of a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt

from ...errors import DataError

Counts = Int[np.ndarray, "run"]
"""Pixels outside and inside in turn, the first outside."""
_MOST_CHARACTERS = 7  # of one number: 35 bits


class Reach(NamedTuple):
    """The smallest box about the pixels inside, in lines and places in a line, and the runs inside it."""

    line: int
    place: int
    n_lines: int
    n_places: int
    starts: Int[np.ndarray, "inside"]
    stops: Int[np.ndarray, "inside"]


def reach(counts: Counts, length: int) -> Reach | None:
    """Bounds of the runs along lines of this length; None where nothing is inside."""
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

    return Reach(line, place, n_lines, n_places, within(first), within(last) + 1)


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
    reached = reach(counts, height)
    assert reached is not None
    return reached.line, reached.place, reached.n_lines, reached.n_places
