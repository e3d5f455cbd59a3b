"""Outlines of labelled pixels, exactly along their edges, from an image in one piece or in bands.

A band is a number of whole rows. Each 4-connected area becomes one polygon: its outer ring and its holes, without a
point of contact within a ring, as GeoJSON asks of a polygon. An area's rings are closed once no row below can belong to
it, so that what stays in memory of the rows above are the outlines of unfinished areas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer, Real
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label as number_areas

ROWS_AT_ONCE = 512
Ring = Real[np.ndarray, "corner 2"]
"""Corners (x, y) of a closed line; the first need not be repeated as the last."""
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # right, down, left, up: an area is on the right hand


class Outline(NamedTuple):
    """One 4-connected area."""

    label: int
    """The value of its pixels."""
    rings: tuple[Ring, ...]
    """In whole numbers, the first corner not repeated: the outer ring clockwise (y is downwards), then the holes
    counterclockwise.
    """


class _Sides(NamedTuple):
    """Sides of pixels between an area and what is not of it; each begins at a corner and is one pixel long."""

    area: Int[np.ndarray, "side"]
    x: Int[np.ndarray, "side"]
    y: Int[np.ndarray, "side"]
    direction: Int[np.ndarray, "side"]

    def where(self, chosen: Bool[np.ndarray, "side"]) -> _Sides:
        return _Sides(*(values[chosen] for values in self))


def trace(labels: Integer[np.ndarray, "y x"]) -> Iterator[Outline]:
    """Outlines of all areas of equal values above 0, in the order in which reading downwards finishes them."""
    tracer = OutlineTracer(labels.shape[1])
    for top in range(0, len(labels), ROWS_AT_ONCE):
        yield from tracer.add(labels[top : top + ROWS_AT_ONCE])
    yield from tracer.finish()


class OutlineTracer:
    """Takes an image band by band, and gives the outlines that are finished."""

    def __init__(self, width: int) -> None:
        """Of an image this wide."""
        self._top = 0
        self._labels = np.zeros(width, np.int64)  # of the last row; areas beside it, as indices of the unfinished
        self._areas = np.zeros(width, np.int64)
        self._values = np.zeros(0, np.int64)  # label of each unfinished area
        self._sides = _Sides(*(np.zeros(0, np.int64) for _ in range(4)))

    def add(self, band: Integer[np.ndarray, "y x"]) -> list[Outline]:
        """Outlines of the areas that do not reach the band's last row."""
        n_old = len(self._values)
        labels = np.vstack([self._labels, band.astype(np.int64)])
        areas = np.vstack([self._areas, number_areas(band, background=0, connectivity=1) + (n_old - 1)])
        values = np.zeros(max(int(areas.max()) + 1, n_old), np.int64)
        values[:n_old] = self._values
        values[areas[1:][labels[1:] > 0]] = labels[1:][labels[1:] > 0]
        root = _joined(labels, areas, len(values))
        sides = _sides_of(labels, areas, self._top - 1)
        sides = _Sides(*(np.concatenate(pair) for pair in zip(self._sides, sides, strict=True)))
        sides = sides._replace(area=root[sides.area])
        self._top += len(band)
        return self._close(labels[-1], root[areas[-1]], values, root, sides)

    def finish(self) -> list[Outline]:
        """Outlines of the areas that reach the image's last row."""
        return self.add(np.zeros((1, len(self._labels)), np.int64))

    def _close(
        self,
        last_labels: Int[np.ndarray, "x"],
        last_areas: Int[np.ndarray, "x"],
        values: Int[np.ndarray, "area"],
        root: Int[np.ndarray, "area"],
        sides: _Sides,
    ) -> list[Outline]:
        """Keep what is unfinished under new indices, and make rings of the rest."""
        value_of_root = np.zeros(len(values), np.int64)
        value_of_root[root] = values
        is_open = np.zeros(len(values), bool)
        is_open[last_areas[last_labels > 0]] = True
        new_index = np.cumsum(is_open) - 1
        is_kept = is_open[sides.area]
        kept = sides.where(is_kept)
        self._sides = kept._replace(area=new_index[kept.area])
        self._labels, self._values = last_labels, value_of_root[is_open]
        self._areas = np.where(last_labels > 0, new_index[last_areas], 0)
        return [Outline(int(value_of_root[area]), rings) for area, rings in _rings(sides.where(~is_kept))]


def _joined(labels: Int[np.ndarray, "y x"], areas: Int[np.ndarray, "y x"], n_areas: int) -> Int[np.ndarray, "area"]:
    """The same index for areas that meet between the first row, which is of the band before, and the second."""
    meets = (labels[0] == labels[1]) & (labels[0] > 0)
    above, below = areas[0][meets], areas[1][meets]
    graph = coo_array((np.ones(len(above), bool), (above, below)), shape=(n_areas, n_areas))
    indices: np.ndarray = connected_components(graph, directed=False)[1]
    return indices.astype(np.int64)


def _sides_of(labels: Int[np.ndarray, "y x"], areas: Int[np.ndarray, "y x"], top: int) -> _Sides:
    """Sides above each row but the first, and left and right of the pixels in them; `top` is the first row's y."""
    y, x = np.nonzero(labels[1:] != labels[:-1])
    above, below = _Pixels(labels, areas, y, x), _Pixels(labels, areas, y + 1, x)
    padded_labels, padded_areas = np.pad(labels[1:], ((0, 0), (1, 1))), np.pad(areas[1:], ((0, 0), (1, 1)))
    v, u = np.nonzero(padded_labels[:, 1:] != padded_labels[:, :-1])
    left, right = _Pixels(padded_labels, padded_areas, v, u), _Pixels(padded_labels, padded_areas, v, u + 1)
    edge, row = y + top + 1, v + top + 1
    pieces = (
        below.sides(x, edge, 0),
        above.sides(x + 1, edge, 2),
        left.sides(u, row, 1),
        right.sides(u, row + 1, 3),
    )
    return _Sides(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


class _Pixels:
    """Pixels on one hand of a number of sides."""

    def __init__(
        self,
        labels: Int[np.ndarray, "y x"],
        areas: Int[np.ndarray, "y x"],
        y: Int[np.ndarray, "side"],
        x: Int[np.ndarray, "side"],
    ) -> None:
        self._is_labelled, self._areas = labels[y, x] > 0, areas[y, x]

    def sides(self, x: Int[np.ndarray, "side"], y: Int[np.ndarray, "side"], direction: int) -> _Sides:
        """The sides of labelled pixels, that begin at (x, y)."""
        chosen = self._is_labelled
        return _Sides(self._areas[chosen], x[chosen], y[chosen], np.full(int(chosen.sum()), direction))


def _rings(sides: _Sides) -> Iterator[tuple[int, tuple[Ring, ...]]]:
    """Areas, and of each its rings, the outer one first."""
    if not len(sides.area):
        return
    following = _following(sides)
    is_corner = sides.direction[following] != sides.direction
    # The corner behind a side is where the next one begins; straight sides in between are left out.
    corners = np.stack([sides.x[following], sides.y[following]], 1)
    rings_of_area: dict[int, list[Ring]] = {}
    for ring in _cycles(following.tolist()):
        chosen = np.array(ring)
        rings_of_area.setdefault(int(sides.area[ring[0]]), []).append(corners[chosen[is_corner[chosen]]])
    for area in sorted(rings_of_area):
        yield area, tuple(sorted(rings_of_area[area], key=_turns_left))


def _turns_left(ring: Ring) -> bool:
    """Whether the ring is a hole's: the one outer ring of an area turns right."""
    x, y = (ring - ring[0]).T
    return bool(x @ np.roll(y, -1) - y @ np.roll(x, -1) < 0)


def _following(sides: _Sides) -> Int[np.ndarray, "side"]:
    """Index of the side that goes on where each ends.

    Where two of an area's sides begin, two of its pixels touch at a corner. The ring turns left there, to the other
    pixel: since both are of one 4-connected area, the two rings that meet are different ones, and neither touches
    itself.
    """
    stride_y = int(sides.x.max()) + 2
    stride_area = stride_y * (int(sides.y.max()) + 2 - (low := int(sides.y.min()) - 1))
    key = sides.area * stride_area + (sides.y - low) * stride_y + sides.x
    step_x, step_y = _STEPS[sides.direction].T
    end = sides.area * stride_area + (sides.y + step_y - low) * stride_y + sides.x + step_x
    order = np.argsort(key, kind="stable")
    first = np.searchsorted(key[order], end)
    second = np.minimum(first + 1, len(key) - 1)
    is_pair = (key[order[second]] == end) & (second > first)
    goes_left = sides.direction[order[second]] == (sides.direction - 1) % 4
    following: np.ndarray = np.where(is_pair & goes_left, order[second], order[first])
    return following


def _cycles(following: list[int]) -> Iterator[list[int]]:
    seen = bytearray(len(following))
    for start in range(len(following)):
        if seen[start]:
            continue
        ring, at = [], start
        while not seen[at]:
            seen[at] = 1
            ring.append(at)
            at = following[at]
        yield ring
