"""Units made by Ray's workers: each holds stage one, reads images, writes shards in place, and returns a record.

The driver hands out whole units, journals what comes back and publishes, so that a run is resumed like any other. A
worker that is lost is replaced, and what it had in hand is handed out again; no two workers ever have the same unit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from ...cache.building.writer import CacheWriter
from ...cache.format.manifest import Manifest, Unit, WorkUnit
from ...cache.format.spec import FeatureSpec
from ...cache.storage.locks import hold_worker
from ...errors import CacheError, SourceError, TextdiffError
from ...stages.features.compression import Projection
from ..config.extraction import ExtractConfig
from ..data.classes import Classes
from ..runtime.process import prepare_process
from ..runtime.progress import Progress, Task
from ..runtime.ray_session import n_workers_for, ray_session, threads_per_worker
from .dataset_rows import DatasetRow, read_batch
from .feature_extractor import FeatureExtractor, Pair
from .job import Job, row_reader
from .loading import absolute_source, load_stage_one

IN_HAND = 3
"""Units that a worker has at once: one in the model, one being read, one being written."""
ATTEMPTS = 3
"""Times that a unit is tried before the extraction stops."""


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker needs to know, sent to each once."""

    config: ExtractConfig
    spec: FeatureSpec
    manifest: Manifest
    """Of the plan, without its units."""
    projections: Mapping[Pair, Projection]
    classes: Classes
    n_threads: int


class UnitWorker:
    """Makes units; several of its calls may run at once, of which one is in the model.

    Args:
        order: what to know.
    """

    def __init__(self, order: WorkerOrder) -> None:
        prepare_process()
        self._order, self._model = order, threading.Lock()
        self._held = ExitStack()
        self._held.enter_context(hold_worker(order.config.cache))  # until the process ends
        self._reader = row_reader(order.spec, order.classes)
        self._writer = CacheWriter(order.config.cache, order.manifest, begins=False)

    @cached_property
    def _stage_one(self) -> FeatureExtractor:
        """Loaded by the first call, whose errors reach the driver as they are."""
        return _same_stage_one(self._order)

    def make(self, unit: WorkUnit, rows: Sequence[DatasetRow]) -> Unit:
        """Read a unit's images, run the model, write the shards.

        Raises:
            SourceError: if the UNet that is found here is not the driver's.
        """
        batch = read_batch(self._reader, rows)
        with self._model:
            torch.set_num_threads(self._order.n_threads)  # each call is in a thread of its own
            features = self._stage_one.start(batch.images, batch.ids, unit.timesteps, unit.blocks, batch.texts)
            conditions = self._stage_one.conditions()
        return self._writer.write_shards(unit, features(), conditions)


def _same_stage_one(order: WorkerOrder) -> FeatureExtractor:
    stage_one = load_stage_one(order.config, order.spec)
    other = order.spec.differences(stage_one.spec)
    if other:
        raise SourceError("a worker's stage one differs from the driver's:\n" + "\n".join(other))
    return stage_one.projected(order.projections)


@dataclass
class _Crew:
    """The workers, and what each has in hand."""

    ray: Any
    order: Any
    """The order, as Ray keeps it."""
    options: Mapping[str, Any]
    workers: list[Any] = field(default_factory=list)
    in_hand: dict[Any, tuple[int, WorkUnit]] = field(default_factory=dict)
    """Call → which worker, and the unit."""

    def hire(self, place: int | None = None) -> None:
        """Start a worker, in another's place where one is lost."""
        worker = self.ray.remote(UnitWorker).options(**self.options).remote(self.order)
        if place is None:
            self.workers.append(worker)
        else:
            self.ray.kill(self.workers[place])
            self.workers[place] = worker

    def idle(self) -> Iterator[int]:
        """The workers that have room for a unit, the least busy first."""
        busy = [place for place, _ in self.in_hand.values()]
        for n_units in range(IN_HAND):
            yield from (place for place in range(len(self.workers)) if busy.count(place) == n_units)

    def give(self, place: int, unit: WorkUnit, rows: Sequence[DatasetRow]) -> None:
        self.in_hand[self.workers[place].make.remote(unit, rows)] = place, unit

    def take_from(self, place: int) -> list[WorkUnit]:
        """What a lost worker had in hand."""
        lost = {call: unit for call, (worker, unit) in self.in_hand.items() if worker == place}
        for call in lost:
            del self.in_hand[call]
        return list(lost.values())


def run_units_in_ray(
    writer: CacheWriter, job: Job, stage_one: FeatureExtractor, progress: Progress, task: Task
) -> None:
    """Have Ray's workers make the job's units, and record each that is finished.

    Raises:
        CacheError: if a unit failed `ATTEMPTS` times, with what happened the last time.
    """
    n_workers = min(n_workers_for(job.config.workers, stage_one.device), len(job.plan.pending))
    with ray_session(n_workers) as ray:
        options = {"num_cpus": 1, "num_gpus": int(stage_one.device.startswith("cuda")), "max_concurrency": IN_HAND}
        order = ray.put(_order(job, stage_one, threads_per_worker(n_workers)))
        crew = _Crew(ray, order, options)
        for _ in range(n_workers):
            crew.hire()
        for unit in _made(crew, job, progress):
            writer.record(unit)
            task.advance(len(unit.rows))


def _order(job: Job, stage_one: FeatureExtractor, n_threads: int) -> WorkerOrder:
    config = replace(
        job.config,
        data=job.config.data.resolve(),
        cache=job.config.cache.resolve(),
        unet=absolute_source(job.config.unet),
        unet_config=None if job.config.unet_config is None else job.config.unet_config.resolve(),
    )
    projections = {pair: one.to("cpu") for pair, one in stage_one.projections.items()}
    manifest = replace(job.plan.manifest, units=(), derived_shards=())
    return WorkerOrder(config, stage_one.spec, manifest, projections, job.dataset.classes, n_threads)


def _made(crew: _Crew, job: Job, progress: Progress) -> Iterator[Unit]:
    """The units as they are finished."""
    waiting, n_failed = deque(job.plan.pending), dict[WorkUnit, int]()
    while waiting or crew.in_hand:
        for place in list(crew.idle()):
            if waiting:
                unit = waiting.popleft()
                crew.give(place, unit, [job.row_at[row] for row in unit.rows])
        (call,), _ = crew.ray.wait(list(crew.in_hand), num_returns=1)
        place, unit = crew.in_hand[call]
        try:
            made = crew.ray.get(call)
        except crew.ray.exceptions.RayError as error:
            _refuse_hopeless(job, unit, error, n_failed)
            again = crew.take_from(place)
            progress.say(f"a worker was lost ({type(error).__name__}); {len(again)} units are handed out again")
            waiting.extendleft(reversed(again))
            crew.hire(place)
        else:
            del crew.in_hand[call]
            yield made


def _refuse_hopeless(job: Job, unit: WorkUnit, error: Exception, n_failed: dict[WorkUnit, int]) -> None:
    """Raise what will not get better by trying again."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, TextdiffError):
        raise cause
    n_failed[unit] = n_failed.get(unit, 0) + 1
    if n_failed[unit] == ATTEMPTS:
        ids = ", ".join(job.row_at[row].id for row in unit.rows)
        why = str(cause or error).strip().splitlines()[-1]
        raise CacheError(
            f"{job.config.cache}: the unit of {ids} failed {ATTEMPTS} times, the last time with: {why}; finished units "
            "are kept: mend the cause and repeat the command with --resume"
        ) from error
