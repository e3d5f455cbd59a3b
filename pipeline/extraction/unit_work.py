"""Work on one unit: its rows, and derived shards of the same rows, which are made of the images beside the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, UInt8

from ...cache.building.derived import LOADERS, DerivedShard, LoadShard, row_loader
from ...cache.format.manifest import WorkUnit
from ..images.filter_bank import image_filters
from .dataset_rows import DatasetRow, RowReader


@dataclass(frozen=True)
class UnitWork:
    """A unit to make, and what is made beside it."""

    unit: WorkUnit
    rows: Sequence[DatasetRow]
    """Of the unit."""
    derived: tuple[DerivedShard, ...] = ()
    """Shards of images, labels and filters of the same rows."""

    def loader(self, images: UInt8[np.ndarray, "row y x 3"], reader: RowReader, device: str) -> LoadShard:
        """Loader of the derived shards.

        Args:
            images: of the rows, as the model is given them: no image is read twice.
            reader: of the labels.
            device: of the model; on the CPU one thread beside those of the model is enough, and more are in their way;
                beside a GPU half of the processor's cores are.
        """
        row_at = dict(zip(self.unit.rows, self.rows, strict=True))
        image_at = dict(zip(self.unit.rows, images, strict=True))
        workers = 1 if device == "cpu" else max(LOADERS, (os.cpu_count() or 1) // 2)
        return derived_loader(image_at.__getitem__, reader, row_at, workers=workers)


def unit_works(
    units: Iterable[WorkUnit], derived: Iterable[DerivedShard], row_at: Mapping[int, DatasetRow]
) -> Iterator[UnitWork]:
    """The work on each unit; derived shards go with the first unit of their rows, or with none.

    Args:
        units: in the order in which they are to be made.
        derived: shards that may be written before the cache is published.
        row_at: row of the cache → row of the data.
    """
    of_rows: dict[tuple[int, ...], list[DerivedShard]] = {}
    for shard in derived:
        of_rows.setdefault(shard.rows, []).append(shard)
    for unit in units:
        yield UnitWork(unit, [row_at[row] for row in unit.rows], tuple(of_rows.pop(unit.rows, ())))


def derived_loader(
    image: Callable[[int], UInt8[np.ndarray, "y x 3"]],
    reader: RowReader,
    row_at: Mapping[int, DatasetRow],
    advance: Callable[[int], None] = lambda _: None,
    *,
    workers: int = LOADERS,
) -> LoadShard:
    """Loader of shards of images, labels and filters.

    Args:
        image: gives the image of a row of the cache.
        reader: of the labels.
        row_at: row of the cache → row of the data.
        advance: counts rows that are filtered.
        workers: rows that are loaded at once.
    """

    def filters(row: int) -> Float16[np.ndarray, "y x filter"]:
        made = image_filters(image(row))
        advance(1)
        return made

    return row_loader(workers=workers, images=image, labels=lambda row: reader.labels(row_at[row]), filters=filters)
