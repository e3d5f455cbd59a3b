"""Stage one from data to cache: read, plan, estimate, run what is missing, publish."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16

from ...cache.building.derived import LoadShard, TextArrays, row_loader
from ...cache.building.plan import WorkPlan, plan_work, read_state
from ...cache.building.writer import CacheWriter
from ...cache.format.manifest import Manifest, WorkUnit
from ...cache.format.maps import StoredMaps
from ...cache.format.projections import read_projections
from ...cache.storage.location import free_bytes
from ...cache.storage.locks import refuse_if_locked
from ...errors import CacheError, ConfigError
from ...stages.features.compression import Projection
from ..config.extraction import ExtractConfig
from ..data.dataset import Dataset, read_dataset
from ..data.pseudonyms import pseudonymised
from ..images.filter_bank import image_filters
from ..runtime.prefetch import BackgroundWriter, prefetch
from ..runtime.progress import Progress, Task
from ..unets.pretrain import colours_learnt
from .dataset_rows import Augmentation, dataset_rows, distinct_texts, sample_table, views_left_out
from .feature_extractor import FeatureExtractor, Pair
from .job import Inputs, Job
from .loading import load_stage_one
from .pca import fit_projections
from .summary import ExtractSummary
from .text_features import encode_texts

UNITS_READ_AHEAD = 2
"""Units whose images are read while the model runs; bounds memory."""
TEXTS_NAMED = 10
"""In the warning about views that are left out."""


def open_extraction(config: ExtractConfig, progress: Progress) -> Inputs:
    """Refuse a cache that is being written to, read the data, and load the model."""
    refuse_if_locked(config.cache, beside_parts=config.num_parts is not None)
    dataset, pseudonyms = pseudonymised(read_dataset(config.data, config.window), config)
    _warn_of_data(config, dataset, progress)
    resumes = config.resume or config.dry_run or config.num_parts is not None
    cached = read_state(config.cache, resume=resumes)
    return Inputs(dataset, pseudonyms, load_stage_one(config, cached.features if cached else None))


def announce(job: Job, summary: ExtractSummary, progress: Progress) -> None:
    """Say what is to be done.

    Raises:
        CacheError: if it does not fit the disk.
    """
    progress.say(summary.estimate)
    _warn_of_hidden_features(job.config, job.plan, progress)
    if summary.free_bytes is not None and summary.added_bytes > summary.free_bytes:
        raise CacheError(_too_large(summary, summary.free_bytes))


def carry_out(job: Job, progress: Progress) -> None:
    """Make what the job's plan lacks, and publish; while the lock of the whole is held."""
    job.keep_pseudonyms()
    texts = encode_texts(job.config, job.rows, job.plan.manifest, progress)
    try_largest_batch(job)
    fitted = fit(job, progress)
    writer = CacheWriter(job.config.cache, job.plan.manifest, job.plan.unfitted, job.plan.lost)
    writer.write_projections({pair: projection.to_rows().numpy() for pair, projection in fitted.items()})
    run_units(writer, job, projected(job, fitted), progress)
    _publish(writer, job, texts, progress)


def _warn_of_data(config: ExtractConfig, dataset: Dataset, progress: Progress) -> None:
    for warning in dataset.warnings:
        progress.say(f"warning: {warning}")
    learnt = colours_learnt(config.unet)
    if learnt not in (None, config.colours):
        progress.say(
            f"warning: {config.unet} was pretrained with --colours {learnt}, and is shown images with --colours "
            f"{config.colours}; give the same to both"
        )
    left_out = views_left_out(dataset.samples, _augmentation(config))
    if left_out:
        progress.say(
            "warning: left out, since words of side in these texts cannot be rewritten (docs/views.md says which can): "
            + "; ".join(left_out[:TEXTS_NAMED])
            + (f"; and those of {len(left_out) - TEXTS_NAMED} more texts" if len(left_out) > TEXTS_NAMED else "")
        )


def plan_job(config: ExtractConfig, inputs: Inputs, state: Manifest | None, damaged: Collection[str] = ()) -> Job:
    """Compare what is asked for with what is there (`state`), of which `damaged` shards are to be written again."""
    stage_one = inputs.stage_one
    shapes = stage_one.recorder.shapes(config.side)
    _check_components(config, {block: channel for block, (channel, _, _) in shapes.items()})
    channels_last = {block: (y, x, channel) for block, (channel, y, x) in shapes.items()}
    rows = dataset_rows(inputs.dataset.samples, stage_one.spec, _augmentation(config))
    keys = [row.key(text_conditioned=stage_one.spec.condition == "own") for row in rows]
    plan = plan_work(
        state, stage_one.spec, keys, channels_last, config.timesteps, filters=config.filters, damaged=damaged
    )
    return Job(config, inputs, rows, plan)


def _augmentation(config: ExtractConfig) -> Augmentation:
    return Augmentation(config.views, all_splits=config.views_of == "all")


def _check_components(config: ExtractConfig, channels: Mapping[int, int]) -> None:
    if config.pca and config.pca >= max(channels.values()):
        found = ", ".join(f"{n} of block {block}" for block, n in channels.items())
        raise ConfigError(f"--pca got {config.pca}; expected fewer components than there are channels ({found})")


def summarise(job: Job) -> ExtractSummary:
    """What the job comes to."""
    config = job.config
    return ExtractSummary(
        cache=str(config.cache),
        n_samples=len(job.dataset.samples),
        n_rows=len(job.rows),
        n_turned=sum(row.view != 0 for row in job.rows),
        n_texts=len(distinct_texts(job.rows)),
        blocks=tuple(sorted(config.blocks)),
        timesteps=tuple(sorted(config.timesteps)),
        n_forwards=sum(len(unit.rows) for unit in job.plan.pending),
        added_bytes=job.plan.size_bytes,
        free_bytes=free_bytes(config.cache),
        precision=job.stage_one.spec.precision,
        dry_run=config.dry_run,
        n_units=len(job.plan.pending),
        whole=not config.dry_run,
    )


def _warn_of_hidden_features(config: ExtractConfig, plan: WorkPlan, progress: Progress) -> None:
    """A pair of block and timestep counts as cached when every sample has it: say which ones new samples take away."""
    hidden = sorted(
        (block, timestep)
        for (block, timestep), rows in plan.manifest.coverage().items()
        if not (block in config.blocks and timestep in config.timesteps) and not rows.issuperset(plan.rows)
    )
    if hidden:
        pairs = ", ".join(f"block {block} at {timestep}" for block, timestep in hidden)
        progress.say(f"warning: not every sample has {pairs}; heads do not see these until all have them")


def _too_large(summary: ExtractSummary, free: int) -> str:
    return (
        f"{summary.cache}: needs {summary.added_bytes / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; "
        "choose fewer blocks or timesteps, --no-filters, a smaller --image-size, or another disk. Nothing was written"
    )


def try_largest_batch(job: Job) -> None:
    """Meet "out of memory" before anything is written; on the CPU there is no such error to catch."""
    if not job.stage_one.device.startswith("cuda") or not job.plan.pending:
        return
    unit = max(job.plan.pending, key=lambda unit: len(unit.rows) * len(unit.timesteps))
    images = np.zeros((len(unit.rows), job.config.side, job.config.side, 3), np.uint8)
    blank = [""] * len(unit.rows)
    job.stage_one.start(images, blank, unit.timesteps, unit.blocks, blank)()


def fit(job: Job, progress: Progress) -> dict[Pair, Projection]:
    """The projections that the cache lacks, fitted before anything is written."""
    if not job.plan.unfitted:
        return {}
    progress.say(f"fitting {job.config.pca} principal components on training images")
    upright = [row for row in job.rows if row.view == 0]  # so that views change no projection
    lost = {record.pair for record in job.plan.lost}
    # What is lost is fitted beside what it was fitted beside, since one forward of more timesteps has other last bits.
    before = sorted(lost | {record.pair for record in job.plan.manifest.projections}) if lost else []
    new = [pair for pair in job.plan.unfitted if pair not in lost]
    fitted = [fit_projections(job.stage_one, job.reader, upright, pairs) for pairs in (before, new) if pairs]
    return {pair: one[pair] for one in fitted for pair in one if pair in job.plan.unfitted}


def projected(job: Job, fitted: Mapping[Pair, Projection]) -> FeatureExtractor:
    """Stage one with the cache's projections, those that were fitted just now included."""
    arrays = read_projections(job.config.cache, job.plan.manifest.projections)
    known = {pair: Projection.from_rows(torch.from_numpy(array)) for pair, array in arrays.items()}
    return job.stage_one.projected({**known, **fitted})


def run_units(writer: CacheWriter, job: Job, stage_one: FeatureExtractor, progress: Progress) -> None:
    """Make and record the units of the job's plan."""
    if not job.plan.pending:
        return
    total = sum(len(unit.rows) for unit in job.plan.pending)
    with progress.task("extract", total, "images") as task:
        if job.config.engine == "ray":
            from .ray_workers import run_units_in_ray

            run_units_in_ray(writer, job, stage_one, progress, task)
        else:
            _run_units_here(writer, job, stage_one, task)


def _run_units_here(writer: CacheWriter, job: Job, stage_one: FeatureExtractor, task: Task) -> None:
    """Read ahead of the model and write behind it, so that it waits for neither."""
    conditions = stage_one.conditions()
    with BackgroundWriter() as disk:
        batches = prefetch(job.batch, job.plan.pending, UNITS_READ_AHEAD)
        for unit, batch in zip(job.plan.pending, batches, strict=True):
            features = stage_one.start(batch.images, batch.ids, unit.timesteps, unit.blocks, batch.texts)
            disk.submit(partial(_write_unit, writer, unit, features, conditions))
            task.advance(len(unit.rows))


def _write_unit(
    writer: CacheWriter,
    unit: WorkUnit,
    features: Callable[[], Mapping[Pair, StoredMaps]],
    conditions: Mapping[str, Any],
) -> None:
    writer.write_unit(unit, features(), conditions)


def _publish(writer: CacheWriter, job: Job, texts: TextArrays | None, progress: Progress) -> None:
    table, classes = sample_table(job.dataset, job.rows, job.plan.rows), job.dataset.classes.to_dict()
    with shard_loader(job, progress) as load:
        writer.publish(table, classes, texts, filters=job.config.filters, load=load)


@contextmanager
def shard_loader(job: Job, progress: Progress) -> Iterator[LoadShard]:
    """Loader of shards of images, labels and filters from the files; filters are counted as they are made."""
    with progress.task("filter", len(job.plan.unfiltered), "images") if job.plan.unfiltered else nullcontext() as task:

        def load_filters(row: int) -> Float16[np.ndarray, "y x filter"]:
            filters = image_filters(job.reader.image(job.row_at[row]))
            if task:
                task.advance()
            return filters

        yield row_loader(
            images=lambda row: job.reader.image(job.row_at[row]),
            labels=lambda row: job.reader.labels(job.row_at[row]),
            filters=load_filters,
        )
