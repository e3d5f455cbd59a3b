"""Units made in this process: files are read ahead of the model, filters made beside it, results written behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ...cache.building.writer import CacheWriter
from ...cache.format.blocks import Pair
from ...cache.format.manifest import WorkUnit
from ...cache.format.maps import StoredMaps
from ..runtime.prefetch import BackgroundWriter, prefetch
from .dataset_rows import RowReader
from .feature_extractor import Batch, FeatureExtractor
from .unit_work import UnitWork

UNITS_READ_AHEAD = 2
"""Units whose images are read while the model runs; bounds memory."""
UNITS_WRITTEN = 2
"""Units that are written at once where the model does not need the processor: the checks of one run beside the other's
waiting for the disk."""


def run_locally(
    works: Sequence[UnitWork],
    reader: RowReader,
    stage_one: FeatureExtractor,
    writer: CacheWriter,
    advance: Callable[[int], None],
) -> None:
    """Make and record the units with their derived shards; `advance` counts their rows."""
    n_writers = 1 if stage_one.device == "cpu" else UNITS_WRITTEN
    with BackgroundWriter(n_writers) as disk, BackgroundWriter() as beside:
        batches = prefetch(reader.batch, [work.rows for work in works], UNITS_READ_AHEAD)
        for work, batch in zip(works, batches, strict=True):
            beside.submit(partial(_derive, writer, work, batch, reader, stage_one.device))
            stored = stage_one.make(batch, work.unit.timesteps, work.unit.blocks)
            disk.submit(partial(_write, writer, work.unit, stored, stage_one.conditions(work.unit.encoder)))
            advance(len(work.rows))


def _derive(writer: CacheWriter, work: UnitWork, batch: Batch, reader: RowReader, device: str) -> None:
    writer.write_derived(work.derived, work.loader(batch.images, reader, device))


def _write(
    writer: CacheWriter,
    unit: WorkUnit,
    stored: Callable[[], Mapping[Pair, StoredMaps]],
    conditions: Mapping[str, Any],
) -> None:
    writer.write_unit(unit, stored(), conditions)
