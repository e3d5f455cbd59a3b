"""Units made by Ray's workers: each holds stage one, reads images, writes shards in place, and returns a record.

The driver journals what comes back and publishes, so that a run is resumed like any other. Ray restarts a lost worker
and gives its units out again; no two workers ever have the same unit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from ...cache.building.writer import CacheWriter
from ...cache.format.blocks import Block, in_order
from ...cache.format.manifest import PLAN, DerivedShardRecord, Manifest, Unit, read_manifest
from ...cache.storage.location import Location
from ...cache.storage.locks import hold_worker
from ...errors import CacheError, TextdiffError
from ..data.classes import Classes
from ..runtime.device import resolve_device
from ..runtime.process import prepare_process
from ..runtime.ray_session import choose_workers, ray_session, threads_per_worker
from .dataset_rows import RowReader
from .feature_extractor import FeatureExtractor
from .loading import restore_stage_one
from .pca import cached_projections
from .unit_work import UnitWork

IN_HAND = 3
"""Units that a worker has at once: one in the model, one being read, one being written."""
ATTEMPTS = 3
"""Workers that a unit may be lost with before the extraction stops."""


@dataclass(frozen=True)
class WorkerOrder:
    """Settings of a worker; the models and the projections are those of the plan in the cache's journal."""

    cache: Location
    classes: Classes
    device: str
    """`auto`: as `choose_workers` finds."""
    offline: bool
    compiled: bool
    blocks: tuple[Block, ...] = ()
    """That units have, of the UNet and of encoders."""
    n_threads: int = 1


class UnitWorker:
    """Makes units; several of its calls may run at once, of which one is in the model.

    Args:
        order: its settings.
    """

    def __init__(self, order: WorkerOrder) -> None:
        prepare_process()
        self._order, self._model = order, threading.Lock()
        self._held = ExitStack()
        self._held.enter_context(hold_worker(order.cache))  # until the process ends

    @cached_property
    def _plan(self) -> Manifest:
        """Read by the first call, whose errors reach the driver as they are."""
        plan = read_manifest(self._order.cache, PLAN)
        if plan is None:
            raise CacheError(f"{self._order.cache}: no plan is there, which the driver writes before it starts workers")
        return plan

    @cached_property
    def _reader(self) -> RowReader:
        return RowReader(self._plan.features, self._order.classes)

    @cached_property
    def _writer(self) -> CacheWriter:
        return CacheWriter(self._order.cache, self._plan, begins=False)

    @cached_property
    def _stage_one(self) -> FeatureExtractor:
        order = self._order
        return restore_stage_one(
            self._plan.features,
            self._plan.encoders,
            order.blocks,
            cached_projections(order.cache, self._plan),
            resolve_device(order.device),
            offline=order.offline,
            compiled=order.compiled,
        )

    def make(self, work: UnitWork) -> tuple[Unit, tuple[DerivedShardRecord, ...]]:
        """Read a unit's images, run the model, write the shards and the derived ones, which are recorded too.

        Raises:
            SourceError: if a model that is found here is not the driver's.
        """
        batch, unit = self._reader.batch(work.rows), work.unit
        with self._model:
            torch.set_num_threads(self._order.n_threads)  # each call is in a thread of its own
            stored = self._stage_one.make(batch, unit.timesteps, unit.blocks)
            conditions = self._stage_one.conditions(unit.encoder)
        load = work.loader(batch.images, self._reader, self._stage_one.device)
        derived = self._writer.write_derived(work.derived, load)
        return self._writer.write_shards(unit, stored(), conditions), derived


def run_in_ray(
    works: Sequence[UnitWork],
    order: WorkerOrder,
    writer: CacheWriter,
    workers: int | None,
    advance: Callable[[int], None],
) -> None:
    """Have Ray's workers make the units, and record each that is finished; `advance` counts their rows.

    Raises:
        CacheError: if a unit failed, or was lost with `ATTEMPTS` workers.
    """
    if not works:
        return
    with ray_session(workers) as ray:
        chosen = choose_workers(ray, workers, order.device)
        n_workers = min(chosen.n_workers, len(works))
        hire = ray.remote(UnitWorker).options(
            **chosen.resources, max_concurrency=IN_HAND, max_restarts=-1, max_task_retries=ATTEMPTS - 1
        )
        blocks = in_order({block for work in works for block in work.unit.blocks})
        order = replace(order, device=chosen.device, blocks=blocks, n_threads=threads_per_worker(n_workers))
        pool = ray.util.ActorPool([hire.remote(order) for _ in range(n_workers)] * IN_HAND)
        try:
            for unit, derived in pool.map_unordered(lambda worker, work: worker.make.remote(work), works):
                writer.record(unit, derived)
                advance(len(unit.rows))
        except ray.exceptions.RayError as error:
            raise _explained(order.cache, error) from error


def _explained(cache: Location, error: Exception) -> TextdiffError:
    cause = getattr(error, "cause", None)
    if isinstance(cause, TextdiffError):
        return cause
    why = str(cause or error).strip().splitlines()[-1]
    return CacheError(
        f"{cache}: a worker failed: {why}; finished units are kept: mend the cause and repeat the command with --resume"
    )
