"""Layers of a prediction at the model's size, as tiles of native pixels: each takes the nearest value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from ....cache.format.samples import IGNORE
from ....errors import LabelError
from ..strokes.tiles import TILE, level_size
from .grid import GridCell, RowGrid

_AROUND = np.ones((3, 3), bool)
_FIRST_WINDOW, _LARGEST_WINDOW = 512, 8192
"""Native pixels along an axis in which an object is looked for."""


@dataclass(frozen=True, eq=False)
class PredictedObject:
    """A connected part of a predicted mask."""

    label: int
    """Its class."""
    runs: Int[np.ndarray, "run 3"]
    """Row, first column and length, in native pixels."""


@dataclass(frozen=True, eq=False)
class PredictionLayer:
    """The predicted classes of an image, or their uncertainty."""

    grid: RowGrid
    maps: Mapping[GridCell, UInt8[np.ndarray, "side side"]]
    """Of the rows that are predicted."""
    nothing: int
    """Where nothing is predicted, and beyond the image."""
    version: int

    def tile(self, level: int, column: int, row: int) -> UInt8[np.ndarray, "256 256"]:
        """A tile of a level of the image."""
        tile = np.full((TILE, TILE), self.nothing, np.uint8)
        (height, width), (top, left) = level_size(self.grid.size, level), (row * TILE, column * TILE)
        y, x = np.arange(top, min(top + TILE, height)), np.arange(left, min(left + TILE, width))
        tile[: len(y), : len(x)] = self._at(
            _centres(y, level, self.grid.size[0]), _centres(x, level, self.grid.size[1])
        )
        return tile

    def object_at(self, x: float, y: float) -> PredictedObject | None:
        """The connected part of the mask at a place in native pixels; `None`: nothing is predicted there.

        Raises:
            LabelError: if the part is too large to be one object.
        """
        height, width = self.grid.size
        if not (0 <= x < width and 0 <= y < height):
            return None
        point, reach = (int(y), int(x)), _FIRST_WINDOW // 2
        while True:
            top, left = (max(place - reach, 0) for place in point)
            bottom, right = (min(place + reach, length) for place, length in zip(point, self.grid.size, strict=True))
            values = self._at(np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5)
            label = int(values[point[0] - top, point[1] - left])
            if label == IGNORE:
                return None
            part = _part_at(values == label, (point[0] - top, point[1] - left))
            is_cut = (part[0].any() and top > 0) or (part[-1].any() and bottom < height)
            if not (is_cut or (part[:, 0].any() and left > 0) or (part[:, -1].any() and right < width)):
                return PredictedObject(label, runs_of(part) + np.array([top, left, 0]))
            if 2 * reach >= _LARGEST_WINDOW:
                raise LabelError(
                    "the object is too large to be taken whole",
                    f"one of more than {2 * reach} pixels across",
                    "a smaller one",
                    "mark it with the polygon or the brush",
                    "too large",
                )
            reach *= 2

    def _at(self, y: Float[np.ndarray, " y"], x: Float[np.ndarray, " x"]) -> UInt8[np.ndarray, "y x"]:
        """Values at places in native pixels."""
        values = np.full((len(y), len(x)), self.nothing, np.uint8)
        (rows, at_y), (columns, at_x) = self.grid.down.locate(y), self.grid.across.locate(x)
        for row in np.unique(rows).tolist():
            for column in np.unique(columns).tolist():
                if (map_ := self.maps.get((row, column))) is not None:
                    own = np.ix_(rows == row, columns == column)
                    values[own] = map_[np.ix_(at_y[rows == row], at_x[columns == column])]
        return values


def _centres(pixels: Int[np.ndarray, " pixel"], level: int, length: int) -> Float[np.ndarray, " pixel"]:
    """Centres of a level's pixels in native ones; the last may be cut by the image's border."""
    centres: np.ndarray = np.minimum((pixels + 0.5) * 2**level, length - 0.5)
    return centres


def _part_at(mask: Bool[np.ndarray, "y x"], point: tuple[int, int]) -> Bool[np.ndarray, "y x"]:
    parts, _ = ndimage.label(mask, _AROUND)
    part: np.ndarray = parts == parts[point]
    return part


def runs_of(mask: Bool[np.ndarray, "y x"]) -> Int[np.ndarray, "run 3"]:
    """Runs of true pixels along rows: row, first column, length."""
    steps = np.diff(np.pad(mask.astype(np.int8), [(0, 0), (1, 1)]), axis=1)
    (rows, starts), (_, stops) = (steps == 1).nonzero(), (steps == -1).nonzero()
    return np.stack([rows, starts, stops - starts], 1)
