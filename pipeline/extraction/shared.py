"""One part of an extraction that several processes share, on one machine or many.

What parts agree on is fixed by the first to begin (`journal/parts.json`); each makes its units and its share of images,
labels and filters. Whoever ends and finds every unit finished publishes as an extraction alone would, under the lock of
the whole, so that the bytes are the same. The texts and, with `--pca`, the projections are made by part 0.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...cache.building.derived import DerivedShard, divide_among_parts, wanted_shards
from ...cache.building.journal import forget_unit
from ...cache.building.plan import part_of, read_state
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
from ...cache.format.layout import FILTERS_ARRAY
from ...cache.format.manifest import Manifest, WorkUnit, read_manifest
from ...cache.format.samples import SampleTable
from ...cache.format.spec import LOCATION_FIELDS, digest
from ...cache.storage.location import Location
from ...cache.storage.locks import Share, hold_lock, hold_plan, parts_at_work
from ...errors import CacheBusyError, CacheError
from ...stages.features.compression import Projection
from ..config.extraction import ExtractConfig
from ..maintenance.verify import damaged_shards
from ..runtime.folders import remove_if_empty
from ..runtime.progress import Progress
from .dataset_rows import distinct_texts, sample_table
from .feature_extractor import Pair
from .job import Inputs, Job
from .steps import (
    announce,
    carry_out,
    fit,
    open_extraction,
    plan_job,
    projected,
    run_units,
    shard_loader,
    summarise,
    try_largest_batch,
)
from .summary import ExtractSummary
from .text_features import encode_texts, encoder_source

TRIES, PAUSE_S = 4, 1.0
"""Of publishing, where others are at work though no unit is left."""


@dataclass(frozen=True)
class _Share:
    """What one part is to make."""

    part: Share
    job: Job
    """With the plan of this part alone."""
    shared: SharedPlan
    begins: bool
    """Whether no part has begun yet."""
    table: SampleTable
    published: Manifest | None
    """`None`: a new cache."""

    @property
    def makes_texts(self) -> bool:
        """What stands in a published cache is not written over before all is there."""
        return self.part.id == 0 and self.published is None


def extract_part(config: ExtractConfig, progress: Progress) -> ExtractSummary:
    """Make one part, and publish if it is the last to end; as `extract_features`.

    Raises:
        CacheBusyError: if another process makes this part, or all of the cache.
        CacheMismatchError: if parts that began before were told other things, with every field that differs.
        CacheError: if projections are to be fitted, which is for part 0.
    """
    part = Share(config.part_id or 0, config.num_parts or 1)
    inputs = open_extraction(config, progress)
    if config.dry_run:
        share = _share(config, inputs, part)
        announce(share.job, summary := _summarise(share), progress)
        return summary
    with _no_empty_cache(config.cache), hold_lock(config.cache, part):
        _refuse_other_division(config, part)
        if config.resume:
            _forget_damaged(config, part, progress)
        with hold_plan(config.cache):
            share = _share(config, inputs, part)
            announce(share.job, summary := _summarise(share), progress)
            writer, fitted = _begin(share, progress)
        _make(share, writer, fitted, progress)
    whole, n_left = _publish_if_last(config, inputs, progress)
    return replace(summary, whole=whole, n_units_left=n_left)


@contextmanager
def _no_empty_cache(root: Location) -> Iterator[None]:
    """As `no_empty_folder`, unless other parts are at work there."""
    new = root if isinstance(root, Path) and not root.exists() else None
    try:
        yield
    except BaseException:
        if new and new.exists():
            with suppress(CacheBusyError), hold_lock(new):
                remove_if_empty(new)
        raise


def _refuse_other_division(config: ExtractConfig, part: Share) -> None:
    others = [name for name in parts_at_work(config.cache) if not name.endswith(f"-of-{part.n_parts}")]
    if others:
        raise CacheBusyError(
            f"{config.cache}: parts {', '.join(others)} are at work, which would make units of part {part} too; give "
            "the same --num-parts, or wait until they end"
        )


def _share(config: ExtractConfig, inputs: Inputs, part: Share) -> _Share:
    state = read_state(config.cache, resume=True)
    job = plan_job(config, inputs, state)
    table, shared = sample_table(job.dataset, job.rows, job.plan.rows), read_shared_plan(config.cache)
    request, begins = _request(job, table), shared is None
    if shared is None:
        shared = SharedPlan(request, job.plan.pending)
    refuse_other_request(config.cache, shared.request, request)
    _refuse_unfitted(job, part)
    mine = missing_units(shared.of(part), job.plan.manifest.units)
    share = _Share(part, job, shared, begins, table, read_manifest(config.cache))
    with_filters = {row for shard in _derived(share) if shard.layout.name == FILTERS_ARRAY for row in shard.rows}
    return replace(share, job=replace(job, plan=part_of(job.plan, mine, with_filters)))


def _request(job: Job, table: SampleTable) -> Request:
    """All that parts must be told alike; not where the data and the models lie, which may differ between machines."""
    config, spec = job.config, asdict(job.stage_one.spec)
    return {
        "features": {name: value for name, value in spec.items() if name not in LOCATION_FIELDS},
        "blocks": sorted(config.blocks),
        "timesteps": sorted(config.timesteps),
        "filters": config.filters,
        "text_encoder": config.text_encoder,
        "truncate_texts": config.truncate_texts,
        "classes": digest(job.dataset.classes.to_dict()),
        "n_rows": len(table.samples),
        "samples": digest([table.samples, table.texts]),
    }


def _refuse_unfitted(job: Job, part: Share) -> None:
    if job.plan.unfitted and part.id != 0:
        raise CacheError(
            f"{job.config.cache}: part {part} needs the principal components that part 0 fits, and it has not begun; "
            "start part 0 first, and this one again; where each part writes to a folder of its own, begin with a copy "
            "of part 0's"
        )


def _forget_damaged(config: ExtractConfig, part: Share, progress: Progress) -> None:
    """Read this part's own units, and forget those that are not as they were written."""
    state, shared = read_state(config.cache, resume=True), read_shared_plan(config.cache)
    if state is None or shared is None:
        return
    mine = set(shared.of(part))
    own = tuple(unit for unit in state.units if WorkUnit(*unit.key) in mine)
    units_alone = replace(state, units=own, projections=(), derived_shards=(), complete=False)
    damaged = set(damaged_shards(config.cache, units_alone, progress))
    for unit in own:
        if any(shard.path in damaged for shard in unit.shards):
            forget_unit(config.cache, unit)


def _derived(share: _Share) -> list[DerivedShard]:
    """This part's share of the shards of images, labels and filters that are new."""
    published = {light.shard.path for light in share.published.derived_shards} if share.published else set()
    classes = share.job.dataset.classes.to_dict()
    spec, filters = share.job.stage_one.spec, share.job.config.filters
    wanted = wanted_shards(spec, share.table.samples, classes, filters=filters)
    return divide_among_parts(wanted, published, share.part.n_parts)[share.part.id]


def _summarise(share: _Share) -> ExtractSummary:
    return replace(summarise(share.job), part=str(share.part), whole=False)


def _begin(share: _Share, progress: Progress) -> tuple[CacheWriter, dict[Pair, Projection]]:
    """What comes before the units, each thing by one part alone."""
    job = share.job
    job.keep_pseudonyms()
    if texts := distinct_texts(job.rows):
        encoder_source(job.config, len(texts))
    arrays = encode_texts(job.config, job.rows, job.plan.manifest, progress) if share.makes_texts else None
    try_largest_batch(job)
    fitted = fit(job, progress)
    plan = job.plan
    writer = CacheWriter(job.config.cache, plan.manifest, plan.unfitted, plan.lost, begins=share.begins)
    if fitted:
        writer.write_projections({pair: projection.to_rows().numpy() for pair, projection in fitted.items()})
    if share.makes_texts:
        writer.write_texts(share.table, job.dataset.classes.to_dict(), arrays)
    if share.begins:
        write_shared_plan(job.config.cache, share.shared)
    return writer, fitted


def _make(share: _Share, writer: CacheWriter, fitted: dict[Pair, Projection], progress: Progress) -> None:
    run_units(writer, share.job, projected(share.job, fitted), progress)
    with shard_loader(share.job, progress) as load:
        writer.write_derived(_derived(share), load)


def _publish_if_last(config: ExtractConfig, inputs: Inputs, progress: Progress) -> tuple[bool, int]:
    """Whether the cache is whole now, and how many units are left; asked without a lock of one's own.

    Every part records its units before it lets go of its lock, so whoever lets go last finds all of them and the lock
    of the whole free.
    """
    for _ in range(TRIES):
        left = units_left(config.cache)
        if left != 0:
            return left is None, left or 0
        try:
            with hold_lock(config.cache):
                if units_left(config.cache) is not None:
                    carry_out(plan_job(config, inputs, read_state(config.cache, resume=True)), progress)
                return True, 0
        except CacheBusyError:
            # In an object store two that look at the same time may both give way: not at the same time again.
            time.sleep(random.uniform(0.1, PAUSE_S))
    return False, 0
