"""The projections of a cache with `pca`: written once, before the first unit that needs them, and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..storage.location import Location
from .blocks import Block, Pair
from .layout import ArrayLayout, projection_layout
from .manifest import ProjectionRecord
from .shard import read_rows, write_shard

Projections = dict[Pair, npt.NDArray[np.float32]]
"""(block, timestep) → [1 + component, channel]: the mean, then the components."""


def write_projection(root: Location, block: Block, timestep: int, array: npt.NDArray[np.float32]) -> ProjectionRecord:
    """Write one projection, [1 + component, channel], durably."""
    layout = layout_of(block, timestep, array)
    shard = write_shard(root, layout.shard_path(0), dict(enumerate(array)), layout.rows_per_shard)
    return ProjectionRecord(block, timestep, (array.shape[0], array.shape[1]), projection_digest(array), shard)


def read_projections(root: Location, records: Iterable[ProjectionRecord]) -> Projections:
    """Read projections of the cache at `root`.

    Raises:
        CacheCorruptError: if one is absent or damaged.
    """
    arrays = {}
    for record in records:
        array = np.empty(record.shape, np.float32)
        read_rows(root / record.shard.path, dict(enumerate(array)), len(array))
        arrays[record.pair] = array
    return arrays


def layout_of(block: Block, timestep: int, array: npt.NDArray[np.float32]) -> ArrayLayout:
    """The layout of a projection with the shape of `array`."""
    return projection_layout(block, timestep, (array.shape[0], array.shape[1]))


def projection_digest(array: npt.NDArray[np.float32]) -> str:
    """SHA-256 of the numbers."""
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()
