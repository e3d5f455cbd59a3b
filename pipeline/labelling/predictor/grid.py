"""Rows of an image as a grid over its native pixels: one of a resized image, many of one that was cut into tiles.

Where tiles overlap, a pixel belongs to the one whose centre is nearest: a tile knows least at its border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ....cache.format.samples import SampleRow
from ....cache.format.spec import FeatureSpec
from ...image_files.source import Box

GridCell = tuple[int, int]
"""Place of a row in the grid: down, then across."""


@dataclass(frozen=True)
class Axis:
    """The rows along one axis of an image."""

    starts: tuple[int, ...]
    """Native pixels at which rows begin, ascending."""
    extent: int
    """Native pixels that a row shows."""
    side: int
    """Pixels of its label map."""

    def locate(
        self, places: Float[np.ndarray, " place"]
    ) -> tuple[Int[np.ndarray, " place"], Int[np.ndarray, " place"]]:
        """For places in native pixels, the row that each belongs to and the pixel of its label map."""
        starts = np.array(self.starts)
        edges = (starts[:-1] + starts[1:] + self.extent) / 2  # between the centres of neighbours
        rows = np.searchsorted(edges, places, side="right")
        pixels = np.floor((places - starts[rows]) * self.side / self.extent).astype(int)
        return rows, pixels.clip(0, self.side - 1)


@dataclass(frozen=True)
class RowGrid:
    """Where the rows of one image lie in it."""

    size: tuple[int, int]
    """Native height and width of the image."""
    down: Axis
    across: Axis

    @classmethod
    def of(cls, rows: Sequence[SampleRow], spec: FeatureSpec) -> RowGrid:
        """The grid of all rows of an image, views left out."""
        size = rows[0].size
        extents = (spec.tile, spec.tile) if spec.tile else size
        starts = (tuple(sorted({row.tile[axis] for row in rows})) for axis in (0, 1))
        axes = (Axis(start, extent, spec.image_size) for start, extent in zip(starts, extents, strict=True))
        return cls(size, *axes)

    def cell(self, row: SampleRow) -> GridCell:
        """The place of a row."""
        return self.down.starts.index(row.tile[0]), self.across.starts.index(row.tile[1])

    def box(self, row: SampleRow) -> Box:
        """Native pixels of the image that a row shows."""
        (top, left), (height, width) = row.tile, self.size
        return top, left, min(self.down.extent, height - top), min(self.across.extent, width - left)


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes have a pixel in common."""
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))
