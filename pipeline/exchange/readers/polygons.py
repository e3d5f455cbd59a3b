"""Polygons to pixels: a pixel belongs to a polygon that holds its centre.

Coordinates are (x, y) in pixels and run along the edges of pixels: the upper left pixel reaches from (0, 0) to (1, 1),
its centre is (0.5, 0.5). QuPath, COCO, Label Studio and CVAT all count so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ....errors import DataError
from ..outlines import Ring
from .drawing import Part

MAX_CROSSINGS = 2**26
"""Rows of pixels that the sides of one region may cross, all together: 0.5 GB."""
FAR = 1e9
"""Beyond this a number is no coordinate of a pixel."""


@dataclass(frozen=True)
class Polygons:
    """Union of polygons."""

    parts: tuple[tuple[Ring, ...], ...]
    """Of each polygon the outer ring, then its holes."""

    def area(self) -> float:
        """In pixels, without regard to overlaps of the parts."""
        return sum(_area(outer) - sum(map(_area, holes)) for outer, *holes in self.parts)

    def draw(self, size: tuple[int, int]) -> Part:
        """Pixels of an image of (height, width) whose centres are inside.

        Raises:
            DataError: There are more sides than any drawing has.
        """
        corners = np.concatenate([outer for outer, *_ in self.parts])
        left, top = np.floor(corners.min(0)).clip(0, size[::-1]).astype(int)
        right, bottom = np.ceil(corners.max(0)).clip(0, size[::-1]).astype(int)
        pixels = np.zeros((max(bottom - top, 0), max(right - left, 0)), bool)
        for rings in self.parts if pixels.size else ():
            pixels |= _fill([ring - (left, top) for ring in rings], *pixels.shape)
        return Part(int(top), int(left), pixels)


def ring_of(coordinates: object) -> Ring:
    """A ring from pairs of numbers, as JSON has them; a third coordinate is left out.

    Raises:
        DataError: They are no pairs of numbers that could be pixels, or fewer than three.
    """
    try:
        ring: np.ndarray = np.asarray(coordinates, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"corners are not pairs of numbers ({str(error)[:80]})") from error
    if ring.ndim != 2 or ring.shape[1] not in (2, 3) or len(ring) < 3:
        raise DataError(f"corners have the shape {ring.shape}; expected three or more pairs of numbers")
    if not (np.abs(ring[:, :2]) < FAR).all():
        raise DataError("corners are not finite numbers of pixels")
    return ring[:, :2]


def rectangle(
    left: float,
    top: float,
    width: float,
    height: float,
    degrees: float = 0.0,
    *,
    pivot: tuple[float, float] | None = None,
) -> Ring:
    """A rectangle, turned clockwise (x right, y down) about the pivot (x, y), or about its upper left corner."""
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) + np.array([left, top])
    about = np.array((left, top) if pivot is None else pivot)
    return ring_of(_turned(corners - about, degrees) + about)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> Ring:
    """An ellipse about (x, y), turned clockwise about its centre, as a polygon that departs from it by 0.01 pixels."""
    radius = min(max(abs(radius_x), abs(radius_y), 1.0), FAR)
    n_corners = int(np.ceil(np.pi / np.arccos(1 - 0.01 / radius)).clip(16, 4096))
    angles = np.linspace(0, 2 * np.pi, n_corners, endpoint=False)
    corners = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], 1)
    return ring_of(_turned(corners, degrees) + np.array([x, y]))


def _turned(corners: Ring, degrees: float) -> Ring:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turned: np.ndarray = corners @ np.array([(cosine, sine), (-sine, cosine)])
    return turned


def _area(ring: Ring) -> float:
    """Shoelace formula."""
    x, y = (ring - ring[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _fill(rings: Sequence[Ring], height: int, width: int) -> Bool[np.ndarray, "y x"]:
    """Pixels whose centres lie inside an odd number of rings, so that holes stay open.

    Where a row of centres crosses a side, inside and outside change; between changes, in the order of reading, pixels
    are alike. A row has an even number of changes, so that none reaches into the next.
    """
    changes = np.sort(np.concatenate([_changes(ring, height, width) for ring in rings]))
    bounds = np.concatenate([[0], changes, [height * width]])
    inside: np.ndarray = np.repeat((np.arange(len(bounds) - 1) & 1).astype(bool), np.diff(bounds))
    return inside.reshape(height, width)


def _changes(ring: Ring, height: int, width: int) -> Int[np.ndarray, "change"]:
    """Number of the first pixel right of each crossing, counted through all rows."""
    (x, y), (to_x, to_y) = ring.T, np.roll(ring, -1, 0).T
    first = np.ceil(np.minimum(y, to_y) - 0.5).clip(0, height).astype(np.int64)
    n_rows = np.ceil(np.maximum(y, to_y) - 0.5).clip(0, height).astype(np.int64) - first
    if n_rows.sum() > MAX_CROSSINGS:
        raise DataError(f"an outline crosses {n_rows.sum()} rows of pixels, over the limit of {MAX_CROSSINGS}")
    side = np.repeat(np.arange(len(ring)), n_rows)
    row = first[side] + np.arange(len(side)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    share = (row + 0.5 - y[side]) / (to_y - y)[side]
    column = np.ceil(x[side] + share * (to_x - x)[side] - 0.5).clip(0, width).astype(np.int64)
    return row * width + column
