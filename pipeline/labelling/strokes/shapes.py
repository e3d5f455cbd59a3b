"""Strokes as pixels, exactly: a pixel is covered if its centre is.

Brush: centres no farther from the path than half the diameter, and the pixels in which the path's points lie, so that
the thinnest brush marks something. Polygon: the even-odd rule. Everything is laid out as runs along rows, whose ends
are counted up across a window; the arithmetic is IEEE's alone, so that a log gives the same pixels anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from ....cache.format.samples import IGNORE
from ...image_files.source import Box
from .events import Stroke, Tool

_EMPTY = (np.inf, -np.inf)


_DECIMALS = 4
"""Of a point: slopes of less would overflow."""


@dataclass(frozen=True, eq=False)
class Mark:
    """A stroke as it is kept in memory."""

    key: str
    tool: Tool
    value: int
    """Class, or IGNORE of an eraser."""
    radius: float
    points: Float[np.ndarray, "point 2"]
    """(x, y)."""
    runs: Int[np.ndarray, "run 3"]
    """Row, first column, length; by rows."""

    @classmethod
    def of(cls, stroke: Stroke) -> Mark:
        """Of an event."""
        points = np.array(stroke.points, np.float64).reshape(-1, 2).round(_DECIMALS)
        runs = np.array(stroke.runs, np.int32).reshape(-1, 3)
        runs = runs[np.argsort(runs[:, 0], kind="stable")]
        value = IGNORE if stroke.label is None else stroke.label
        return cls(stroke.key, stroke.tool, value, stroke.size / 2, points, runs)

    @cached_property
    def bounds(self) -> tuple[int, int, int, int]:
        """First row and column, and those after the last, of all that may be covered."""
        if self.tool == "bucket":
            rows, lefts = self.runs[:, 0], self.runs[:, 1]
            return int(rows.min()), int(lefts.min()), int(rows.max()) + 1, int((lefts + self.runs[:, 2]).max())
        low = np.floor(self.points.min(axis=0) - self.radius)
        high = np.floor(self.points.max(axis=0) + self.radius) + 1
        return int(low[1]), int(low[0]), int(high[1]), int(high[0])


def box_of(mark: Mark, size: tuple[int, int]) -> Box | None:
    """The part of an image of this height and width that a mark may cover; `None`: it lies outside."""
    return _meet(mark, (0, 0, *size))


def paint(pixels: Int[np.ndarray, "y x"], mark: Mark, corner: tuple[int, int]) -> None:
    """Give the pixels that a mark covers its value, in place.

    Args:
        pixels: a part of the label image.
        mark: the stroke.
        corner: (y, x) of the part in the image.
    """
    window = _meet(mark, (*corner, *pixels.shape))
    if window is not None:
        top, left = window[0] - corner[0], window[1] - corner[1]
        part = pixels[top : top + window[2], left : left + window[3]]
        np.copyto(part, np.uint8(mark.value), where=covered(mark, window))


def covered(mark: Mark, box: Box) -> Bool[np.ndarray, "y x"]:
    """Whether each pixel of a box of the image is covered."""
    if mark.tool == "bucket":
        first, stop = np.searchsorted(mark.runs[:, 0], (box[0], box[0] + box[2]))
        rows, starts, n = mark.runs[first:stop].T
        return _filled(rows, starts, starts + n, box) > 0
    # In the image's coordinates, so that the last digits do not depend on the box.
    if mark.tool == "polygon":
        return (_filled(*_crossings(mark.points, box), box) & 1).astype(bool)
    counts = _filled(*_brush_runs(mark.points, mark.radius, box), box)
    x, y = np.floor(mark.points).astype(np.int64).T - [[box[1]], [box[0]]]
    inside = (x >= 0) & (y >= 0) & (x < box[3]) & (y < box[2])
    counts[y[inside], x[inside]] = 1
    return counts > 0


def _meet(mark: Mark, box: Box) -> Box | None:
    top, left = max(mark.bounds[0], box[0]), max(mark.bounds[1], box[1])
    bottom, right = min(mark.bounds[2], box[0] + box[2]), min(mark.bounds[3], box[1] + box[3])
    return (top, left, bottom - top, right - left) if top < bottom and left < right else None


def _filled(
    rows: Int[np.ndarray, " run"],
    starts: Int[np.ndarray, " run"],
    stops: Int[np.ndarray, " run"],
    box: Box,
) -> Int[np.ndarray, "y x"]:
    """How many of the runs [start, stop) cover each pixel of a box; what lies outside is left out."""
    top, left, height, width = box
    keep = (rows >= top) & (rows < top + height)
    lines = rows[keep].astype(np.int64) - top
    begins, ends = (np.clip(x[keep] - left, 0, width) for x in (starts, stops))
    if np.isin(begins, (0, width)).all() and np.isin(ends, (0, width)).all():  # far inside a polygon, or outside
        whole = np.bincount(lines, (ends > begins).astype(np.float64), minlength=height)
        return np.repeat(whole.astype(np.int32)[:, None], width, axis=1)
    n = height * (width + 1)
    steps = np.bincount(lines * (width + 1) + begins, minlength=n) - np.bincount(
        lines * (width + 1) + ends, minlength=n
    )
    return np.cumsum(steps.astype(np.int32).reshape(height, width + 1), axis=1, dtype=np.int32)[:, :width]


def _rows_between(first: Int[np.ndarray, " edge"], stop: Int[np.ndarray, " edge"]) -> tuple[np.ndarray, np.ndarray]:
    """Every (edge, row) with the row in [first, stop) of its edge."""
    n = np.maximum(stop - first, 0)
    edges = np.repeat(np.arange(len(n)), n)
    rows = np.arange(len(edges)) - np.repeat(np.cumsum(n) - n, n) + first[edges]
    return edges, rows


def _row(y: Float[np.ndarray, " n"], box: Box) -> Int[np.ndarray, " n"]:
    """The first row of the box whose centre is not above y."""
    return np.clip(np.ceil(y - 0.5), box[0], box[0] + box[2]).astype(np.int64)


def _crossings(corners: Float[np.ndarray, "point 2"], box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and runs from where an edge crosses a row of centres to the box's right border."""
    ends = np.roll(corners, -1, axis=0)
    # From above downwards, so that neighbours cut the edge that they share at the same place.
    swap = (ends[:, 1] < corners[:, 1])[:, None]
    low, high = np.where(swap, ends, corners), np.where(swap, corners, ends)
    edges, rows = _rows_between(_row(low[:, 1], box), _row(high[:, 1], box))
    (ax, ay), (bx, by) = low[edges].T, high[edges].T
    x = ax + (rows + 0.5 - ay) * (bx - ax) / (by - ay)
    return rows, np.ceil(x - 0.5).astype(np.int64), np.full(len(rows), box[1] + box[3])


def _brush_runs(
    points: Float[np.ndarray, "point 2"], radius: float, box: Box
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of the pixels about each segment of a path: a rectangle between two discs, which is convex."""
    a, b = (points, points) if len(points) == 1 else (points[:-1], points[1:])
    lefts, rights = np.minimum(a, b)[:, 0] - radius, np.maximum(a, b)[:, 0] + radius
    is_near = (lefts <= box[1] + box[3]) & (rights >= box[1])
    a, b = a[is_near], b[is_near]
    above, below = np.minimum(a, b)[:, 1] - radius, np.maximum(a, b)[:, 1] + radius
    segments, rows = _rows_between(_row(above, box), _row(np.floor(below - 0.5) + 1.5, box))
    a, b, y = a[segments], b[segments], rows + 0.5
    parts = [_of_disc(a, y, radius), _of_disc(b, y, radius), _of_rectangle(a, b, y, radius)]
    low = np.minimum.reduce([part[0] for part in parts])
    high = np.maximum.reduce([part[1] for part in parts])
    some = low <= high
    starts = np.ceil(low[some] - 0.5).astype(np.int64)
    return rows[some], starts, np.maximum(np.floor(high[some] - 0.5).astype(np.int64) + 1, starts)


def _of_disc(centre: np.ndarray, y: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    square = radius * radius - (y - centre[:, 1]) ** 2
    half = np.sqrt(np.maximum(square, 0))
    is_cut = square >= 0
    return np.where(is_cut, centre[:, 0] - half, _EMPTY[0]), np.where(is_cut, centre[:, 0] + half, _EMPTY[1])


def _of_rectangle(a: np.ndarray, b: np.ndarray, y: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a row lies within the radius of a segment, beside it and not beyond its ends."""
    (dx, dy), above = (b - a).T, y - a[:, 1]
    square = dx * dx + dy * dy
    beside = _solved(dy, dx * above, -radius * np.sqrt(square), radius * np.sqrt(square))
    along = _solved(-dx, dy * above, np.zeros_like(square), square)
    low, high = np.maximum(beside[0], along[0]), np.minimum(beside[1], along[1])
    is_cut = (low <= high) & (square > 0)
    return np.where(is_cut, a[:, 0] + low, _EMPTY[0]), np.where(is_cut, a[:, 0] + high, _EMPTY[1])


def _solved(
    slope: np.ndarray, offset: np.ndarray, least: np.ndarray, most: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of t with least <= offset - slope · t <= most."""
    divisor = np.where(slope == 0, 1.0, slope)
    one, other = (offset - least) / divisor, (offset - most) / divisor
    is_within = (least <= offset) & (offset <= most)
    low = np.where(slope == 0, np.where(is_within, -np.inf, np.inf), np.minimum(one, other))
    high = np.where(slope == 0, np.where(is_within, np.inf, -np.inf), np.maximum(one, other))
    return low, high
