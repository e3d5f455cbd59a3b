"""One part of an extraction that several processes share, on one machine or many.

The first part to begin fixes the request and the units (`journal/parts.json`); each part makes its units and its share
of images, labels and filters. The last part to finish publishes the cache, holding the exclusive lock; the bytes equal
a single process's. The texts and, with `--pca`, the projections are made by part 0.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from ...cache.building.derived import DerivedShard, divide_among_parts, unpublished
from ...cache.building.journal import forget_unit
from ...cache.building.plan import WorkPlan, part_of, read_state
from ...cache.building.shared_plan import (
    Request,
    SharedPlan,
    missing_units,
    read_shared_plan,
    refuse_other_request,
    units_left,
    write_shared_plan,
)
from ...cache.building.writer import CacheWriter
from ...cache.format.blocks import in_order
from ...cache.format.layout import FILTERS_ARRAY
from ...cache.format.manifest import Manifest, WorkUnit, read_manifest
from ...cache.format.samples import SampleTable
from ...cache.format.spec import LOCATION_FIELDS, digest
from ...cache.storage.location import Location, on_disk
from ...cache.storage.locks import Share, hold_lock, hold_plan, parts_at_work, refuse_if_locked
from ...errors import CacheBusyError, CacheError
from ..config.extraction import ExtractConfig
from ..maintenance.verify import damaged_shards
from ..runtime.folders import remove_if_empty
from ..runtime.progress import Progress
from .dataset_rows import distinct_texts
from .extraction import Extraction
from .feature_extractor import FeatureExtractor
from .summary import ExtractSummary

TRIES, PAUSE_S = 4, 1.0
"""Of publishing, where others are at work though no unit is left."""


def extract_part(config: ExtractConfig, progress: Progress) -> ExtractSummary:
    """Make one part, and publish if it is the last to end; as `extract_features`.

    Raises:
        CacheBusyError: if another process makes this part, or all of the cache.
        CacheMismatchError: if earlier parts had other settings or data, with every field that differs.
        CacheError: if projections are to be fitted, which is for part 0.
    """
    root, part = config.cache, Share(config.part_id or 0, config.num_parts or 1)
    if config.dry_run:
        refuse_if_locked(root, beside_parts=True)
        state = read_state(root, resume=True)
        extraction = SharedExtraction.open(config, state, progress)
        return extraction.estimate(extraction.divide(state, part).plan)
    with _no_empty_cache(root), hold_lock(root, part):
        _refuse_other_division(root, part)
        state = read_state(root, resume=True)
        extraction = SharedExtraction.open(config, state, progress)
        if config.resume and state:
            _forget_damaged(root, state, part, progress)
        with hold_plan(root):
            work = extraction.divide(read_state(root, resume=True), part)
            summary = extraction.estimate(work.plan)
            writer, stage_one = extraction.begin_part(work)
        extraction.make_units(work.plan, work.derived, writer, stage_one)
        with extraction.shard_loader(work.plan, writer.missing(work.derived)) as load:
            writer.write_derived(work.derived, load)
    whole, n_left = _publish_if_last(extraction)
    return replace(summary, whole=whole, n_units_left=n_left)


@dataclass(frozen=True)
class PartWork:
    """The work of one part."""

    plan: WorkPlan
    """Of this part alone."""
    derived: tuple[DerivedShard, ...]
    """Its share of the new shards of images, labels and filters."""
    shared: SharedPlan
    begins: bool
    """Whether no part has begun yet."""
    table: SampleTable
    makes_texts: bool


@dataclass(frozen=True)
class SharedExtraction(Extraction):
    """An extraction of which this process makes one part; `run` publishes it when all parts are made."""

    def divide(self, state: Manifest | None, part: Share) -> PartWork:
        """The work of a part; units that are finished are left out.

        Raises:
            CacheMismatchError: if earlier parts had other settings or data.
            CacheError: if projections are to be fitted, and the part is not part 0.
        """
        root, plan = self.config.cache, self.plan(state)
        table, shared = self.table(plan), read_shared_plan(root)
        request, begins = self._request(table), shared is None
        shared = shared or SharedPlan(request, plan.pending)
        refuse_other_request(root, shared.request, request)
        if plan.unfitted and part.id != 0:
            raise CacheError(
                f"{root}: part {part} needs the principal components that part 0 fits, and it has not begun; start "
                "part 0 first, and this one again; where each part writes to a folder of its own, begin with a copy "
                "of part 0's"
            )
        derived = divide_among_parts(unpublished(root, self.derived_shards(plan, table)), part.n_parts)[part.id]
        filtered = {row for shard in derived if shard.layout.name == FILTERS_ARRAY for row in shard.rows}
        own = part_of(plan, missing_units(shared.of(part), plan.manifest.units), filtered)
        # Texts of a published cache are not written over before all units are finished.
        return PartWork(own, tuple(derived), shared, begins, table, part.id == 0 and read_manifest(root) is None)

    def begin_part(self, work: PartWork) -> tuple[CacheWriter, FeatureExtractor]:
        """Write what comes before the units, each thing by one part alone; as `begin`."""
        self.keep_names()
        if texts := distinct_texts(self.rows):
            self.encoder.required(len(texts))
        made = self.encode_texts(work.plan) if work.makes_texts else None
        writer, stage_one = self.begin(work.plan, begins=work.begins)
        if work.makes_texts:
            writer.write_texts(work.table, self.dataset.classes.to_dict(), made)
        if work.begins:
            write_shared_plan(self.config.cache, work.shared)
        return writer, stage_one

    def summarise(self, plan: WorkPlan) -> ExtractSummary:
        """Summary of the part."""
        part = f"{self.config.part_id}-of-{self.config.num_parts}"
        return replace(super().summarise(plan), part=part, whole=False)

    def _request(self, table: SampleTable) -> Request:
        """Settings and data that all parts have alike; not locations of data and models, which machines differ in."""
        config, spec = self.config, asdict(self.stage_one.spec)
        return {
            "features": {name: value for name, value in spec.items() if name not in LOCATION_FIELDS},
            "blocks": in_order(self.stage_one.shapes),
            "timesteps": sorted(config.timesteps),
            "encoders": {name: one.spec.digest for name, one in self.stage_one.encoders.items()},
            "filters": config.filters,
            "text_encoder": config.text_encoder,
            "truncate_texts": config.truncate_texts,
            "classes": digest(self.dataset.classes.to_dict()),
            "n_rows": len(table.samples),
            "samples": digest([table.samples, table.texts]),
        }


@contextmanager
def _no_empty_cache(root: Location) -> Iterator[None]:
    """As `no_empty_folder`, unless other parts are at work there."""
    new = None if root.exists() else on_disk(root)
    try:
        yield
    except BaseException:
        if new and new.exists():
            with suppress(CacheBusyError), hold_lock(new):
                remove_if_empty(new)
        raise


def _refuse_other_division(root: Location, part: Share) -> None:
    others = [name for name in parts_at_work(root) if not name.endswith(f"-of-{part.n_parts}")]
    if others:
        raise CacheBusyError(
            f"{root}: parts {', '.join(others)} are at work, which would make units of part {part} too; give the same "
            "--num-parts, or wait until they end"
        )


def _forget_damaged(root: Location, state: Manifest, part: Share, progress: Progress) -> None:
    """Check the part's own units, and forget the damaged ones."""
    shared = read_shared_plan(root)
    if shared is None:
        return
    mine = set(shared.of(part))
    own = tuple(unit for unit in state.units if WorkUnit(*unit.key) in mine)
    units_alone = replace(state, units=own, projections=(), derived_shards=(), complete=False)
    damaged = set(damaged_shards(root, units_alone, progress))
    for unit in own:
        if any(shard.path in damaged for shard in unit.shards):
            forget_unit(root, unit)


def _publish_if_last(extraction: SharedExtraction) -> tuple[bool, int]:
    """Whether the cache is whole now, and how many units are left; asked without a lock of one's own.

    Every part records its units before it lets go of its lock, so whoever lets go last finds all of them and the lock
    of the whole free.
    """
    root = extraction.config.cache
    for _ in range(TRIES):
        left = units_left(root)
        if left != 0:
            return left is None, left or 0
        try:
            with hold_lock(root):
                if units_left(root) is not None:
                    extraction.run(extraction.plan(read_state(root, resume=True)))
                return True, 0
        except CacheBusyError:
            # In an object store two that look at the same time may both give way: not at the same time again.
            time.sleep(random.uniform(0.1, PAUSE_S))
    return False, 0
