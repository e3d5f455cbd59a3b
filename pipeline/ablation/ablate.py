"""`ablate-timesteps`: heads trained on parts of one cache, without the frozen models."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cache.reader import FeatureReader
from ...cache.storage.atomic import TEMPORARY_SUFFIX, write_durably, write_json
from ...errors import RunError
from ..config.ablation import AblateConfig
from ..config.command_line import command_line, write_command
from ..reports.figures import plot_ablation
from ..runtime.device import resolve_device
from ..runtime.folders import locked_folder
from ..runtime.progress import Progress
from ..runtime.ray_session import require_ray
from .finished import Journal
from .jobs import JobFactory, Outcome, TrainingJob, training_config
from .report import write_ablation_report
from .result import AblationRow, AblationSummary, rows_of
from .variants import Subset, Variant, forward, next_round, union_of_variants
from .workers import train_in_processes

JOURNAL, TABLE, JSON, PLOT = "heads.jsonl", "ablation.csv", "ablation.json", "ablation.png"


def ablate_timesteps(config: AblateConfig, progress: Progress | None = None) -> AblationSummary:
    """Train a head for each variant, seed and fold, and write `ablation.csv`, `ablation.json` and `ablation.png`.

    Heads are trained in processes; each comes out the same bit for bit as if it were trained alone. Every finished
    head is a line of `heads.jsonl`, keyed by everything that its result depends on, and is not trained again.

    Args:
        config: settings.
        progress: where to report; `None`: warnings alone, to the logger `textdiff`.

    Raises:
        CacheError: if the cache cannot be read or lacks a timestep or block.
        ConfigError: if there is too little to compare.
        DataError: if there are too few labelled samples.
        RunError: if the folder holds something else, or another process writes to it.
    """
    if config.engine == "ray":
        require_ray()
    progress, reader = progress or Progress(), FeatureReader(config.cache)
    everything = union_of_variants(config, reader)
    _refuse_other_folder(config.out)
    factory = JobFactory(config, reader, everything, resolve_device(config.device))
    dice: dict[Variant, list[dict[str, float]]] = {}
    rows: tuple[AblationRow, ...] = ()
    with locked_folder(config.out):
        while variants := next_round(
            config, everything, {row.variant: row.mean for row in rows}, filters=reader.manifest.has_filters
        ):
            dice |= _train_round(config, factory, variants, progress)
            rows = rows_of(dice, factory.group_of, config.over)
        summary = _summarise(config, reader, rows, factory)
        _write(config, summary)
        write_command(config.out, "ablate-timesteps", config)
        write_ablation_report(config, summary, reader)
    return summary


def _train_round(
    config: AblateConfig, factory: JobFactory, variants: Sequence[Variant], progress: Progress
) -> dict[Variant, list[dict[str, float]]]:
    """Variant → for each seed, sample → Dice, the folds put together; finished jobs are not trained again."""
    jobs, journal = factory.jobs_of(variants), Journal(config.out / JOURNAL)
    missing = [job for job in jobs if journal.result(job.identity) is None]
    if len(missing) < len(jobs):
        progress.say(f"{len(jobs) - len(missing)} of {len(jobs)} heads are already in {config.out / JOURNAL}")
    with progress.task("ablate", len(missing), "heads") as task:
        for outcome in _train(config, missing):
            journal.record(outcome.job.identity, {"dice": dict(outcome.dice)})
            task.advance(1, dice=statistics.fmean(outcome.dice.values()))
    by_seed: dict[Variant, dict[int, dict[str, float]]] = {}
    for job in jobs:
        result = journal.result(job.identity)
        by_seed.setdefault(job.variant, {}).setdefault(job.config.seed, {}).update(result["dice"] if result else {})
    return {variant: [*of_seeds.values()] for variant, of_seeds in by_seed.items()}


def _train(config: AblateConfig, jobs: Sequence[TrainingJob]) -> Iterator[Outcome]:
    if not jobs:
        return iter(())
    device = jobs[0].config.device
    if config.engine == "local":
        return train_in_processes(device, jobs)
    from .ray_workers import train_in_ray

    return train_in_ray(config, device, jobs)


def _summarise(
    config: AblateConfig, reader: FeatureReader, rows: tuple[AblationRow, ...], factory: JobFactory
) -> AblationSummary:
    winner = max(rows, key=lambda row: row.mean)
    path: list[Subset] = []
    if config.grid == "forward":
        means = {row.variant.subset(config.over): row.mean for row in rows}
        path, _ = forward(rows[-1].variant.subset(config.over), means)
    filters = "without --no-filters the head also sees filters of the images, which belong to no timestep and no block"
    return AblationSummary(
        out=str(config.out),
        over=config.over,
        scored_on=factory.scored_on,
        seeds=config.seeds,
        n_groups=len({*factory.group_of.values()}),
        rows=rows,
        path=tuple(",".join(map(str, subset)) for subset in path),
        command=command_line("train-head", training_config(config, winner.variant, config.seeds[0])),
        note=filters if reader.manifest.has_filters and not winner.variant.filters else "",
    )


def _refuse_other_folder(out: Path) -> None:
    """Refuse a folder that holds something else than an ablation, finished or not."""
    if not out.exists():
        return
    names = {path.name for path in out.iterdir() if path.suffix != TEMPORARY_SUFFIX} if out.is_dir() else {""}
    if names and not names & {JOURNAL, JSON}:
        raise RunError(f"{out}: exists and is not an ablation; give a new name")


def _write(config: AblateConfig, summary: AblationSummary) -> None:
    write_durably(config.out / TABLE, [summary.csv().encode()])
    write_json(config.out / JSON, summary.to_dict())
    dots = [(row.name, row.mean, row.interval) for row in summary.rows]
    write_durably(config.out / PLOT, [plot_ablation(dots, summary.over, summary.scored_on)])
