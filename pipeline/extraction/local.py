"""Units made in this process: files are read ahead of the model, results are written behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ...cache.building.writer import CacheWriter
from ...cache.format.blocks import Pair
from ...cache.format.manifest import WorkUnit
from ...cache.format.maps import StoredMaps
from ..runtime.prefetch import BackgroundWriter, prefetch
from .dataset_rows import DatasetRow, RowReader
from .feature_extractor import FeatureExtractor

UNITS_READ_AHEAD = 2
"""Units whose images are read while the model runs; bounds memory."""

UnitRows = Mapping[WorkUnit, Sequence[DatasetRow]]
"""Units to make, in order, with their rows."""


def run_locally(
    units: UnitRows,
    reader: RowReader,
    stage_one: FeatureExtractor,
    writer: CacheWriter,
    advance: Callable[[int], None],
) -> None:
    """Make and record the units; `advance` counts their rows."""
    with BackgroundWriter() as disk:
        batches = prefetch(reader.batch, units.values(), UNITS_READ_AHEAD)
        for unit, batch in zip(units, batches, strict=True):
            stored = stage_one.store(stage_one.record(batch, unit.timesteps, unit.blocks))
            disk.submit(partial(_write, writer, unit, stored, stage_one.conditions(unit.encoder)))
            advance(len(unit.rows))


def _write(
    writer: CacheWriter,
    unit: WorkUnit,
    stored: Callable[[], Mapping[Pair, StoredMaps]],
    conditions: Mapping[str, Any],
) -> None:
    writer.write_unit(unit, stored(), conditions)
