"""Which timesteps, blocks or texts carry the segmentation: heads on parts of one cache, nothing of stage one loaded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cache.reader import FeatureReader
from ...cache.storage.atomic import TEMPORARY_SUFFIX, write_durably, write_json
from ...errors import RunError
from ..config.ablation import AblateConfig
from ..config.command_line import command_line
from ..reports.figures import plot_ablation
from ..runtime.device import resolve_device
from ..runtime.folders import locked_folder
from ..runtime.progress import Progress
from ..runtime.ray_session import require_ray
from .finished import Journal
from .jobs import Event, JobFactory, Outcome, TrainingJob, training_config
from .report import AblationOutcome, Contender, write_ablation_report
from .result import AblationRow, AblationSummary, rows_of
from .variants import Subset, Variant, forward, next_round, universe

CELLS, TABLE, JSON, PLOT = "cells.jsonl", "ablation.csv", "ablation.json", "ablation.png"


def ablate_timesteps(config: AblateConfig, progress: Progress | None = None) -> AblationSummary:
    """Train a head for each variant, seed and fold, and write `ablation.csv`, `ablation.json` and `ablation.png`.

    Heads are trained side by side over shared reads; each comes out the same bit for bit as if it were trained alone.
    Every finished head is a line of `cells.jsonl`, by all that its result depends on, and is not trained again.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        CacheError: if the cache cannot be read or lacks a timestep or block.
        ConfigError: if there is too little to compare.
        DataError: if there are too few labelled samples.
        RunError: if the folder holds something else, or another process writes to it.
    """
    if config.engine == "ray":
        require_ray()
    progress, reader = progress or Progress(), FeatureReader(config.cache)
    everything = universe(config, reader)
    _refuse_other_folder(config.out)
    cells = JobFactory(config, reader, everything, resolve_device(config.device))
    found: dict[Variant, list[dict[str, float]]] = {}
    rows: tuple[AblationRow, ...] = ()
    with locked_folder(config.out):
        while variants := next_round(config, everything, {row.variant: row.mean for row in rows}):
            found |= _train_round(config, cells, variants, progress)
            rows = rows_of(found, cells.group_of, config.over)
        summary = _summarise(config, reader, rows, cells)
        _write(config, summary)
        write_ablation_report(config.out, _outcome(config, summary), reader)
    return summary


def _train_round(
    config: AblateConfig, cells: JobFactory, variants: Sequence[Variant], progress: Progress
) -> dict[Variant, list[dict[str, float]]]:
    """Variant → for each seed, sample → Dice, the folds put together; what was finished before is not trained again."""
    of_round = cells.of(variants)
    journal = Journal(config.out / CELLS)
    missing = [cell for cell in of_round if journal.result(cell.identity) is None]
    if len(missing) < len(of_round):
        progress.say(f"{len(of_round) - len(missing)} of {len(of_round)} heads are already in {config.out / CELLS}")
    with progress.task("ablate", len(missing) * cells.n_epochs, "epochs") as task:
        for event in _train(config, cells, missing):
            if isinstance(event, Outcome):
                journal.record(event.cell.identity, {"dice": dict(event.dice)})
                if config.engine == "ray":
                    task.advance(cells.n_epochs)
            elif event is not None:
                task.advance(1, val_dice=event)
    found: dict[Variant, list[dict[str, float]]] = {}
    for variant, seed in itertools.product(variants, config.seeds):
        results = [journal.result(cell.identity) for cell in of_round if (cell.variant, cell.seed) == (variant, seed)]
        found.setdefault(variant, []).append(
            {name: dice for one in results if one for name, dice in one["dice"].items()}
        )
    return found


def _train(config: AblateConfig, cells: JobFactory, missing: Sequence[TrainingJob]) -> Iterator[Event]:
    if config.engine == "local":
        return cells.train(missing)
    from .ray_workers import train_in_ray

    return train_in_ray(config, cells.everything, cells.device, missing)


def _summarise(
    config: AblateConfig, reader: FeatureReader, rows: tuple[AblationRow, ...], cells: JobFactory
) -> AblationSummary:
    winner = max(rows, key=lambda row: row.mean)
    path: list[Subset] = []
    if config.grid == "forward":
        means = {row.variant.subset(config.over): row.mean for row in rows}
        path, _ = forward(rows[-1].variant.subset(config.over), means)
    filters = "without --no-filters the head also sees filters of the images, which are of no timestep and no block"
    return AblationSummary(
        out=str(config.out),
        over=config.over,
        scored_on=cells.scored_on,
        seeds=config.seeds,
        n_groups=len({*cells.group_of.values()}),
        rows=rows,
        path=tuple(",".join(map(str, subset)) for subset in path),
        command=command_line("train-head", training_config(config, winner.variant, config.seeds[0])),
        note=filters if reader.manifest.has_filters else "",
    )


def _refuse_other_folder(out: Path) -> None:
    """Refuse a folder of something else; what an earlier ablation left, finished or not, is gone on with."""
    if not out.exists():
        return
    names = {path.name for path in out.iterdir() if path.suffix != TEMPORARY_SUFFIX} if out.is_dir() else {""}
    if names and not names & {CELLS, JSON}:
        raise RunError(f"{out}: exists and is not an ablation; give a new name")


def _write(config: AblateConfig, summary: AblationSummary) -> None:
    write_durably(config.out / TABLE, [summary.csv().encode()])
    write_json(config.out / JSON, summary.to_dict())
    dots = [(row.name, row.mean, row.interval) for row in summary.rows]
    write_durably(config.out / PLOT, [plot_ablation(dots, summary.over, summary.scored_on)])


def _outcome(config: AblateConfig, summary: AblationSummary) -> AblationOutcome:
    contenders = [
        Contender(
            row.name,
            row.mean,
            row.interval,
            row.dice,
            None if row.behind is None else row.behind.p_value,
            summary.command if row is summary.ranked[0] else "",
        )
        for row in summary.rows
    ]
    return AblationOutcome(
        command=command_line("ablate-timesteps", config),
        over=summary.over,
        scored_on=summary.scored_on,
        n_scored=len(summary.rows[0].per_sample),
        n_groups=summary.n_groups,
        n_heads_each=len(config.seeds) * (config.folds or 1),
        span_is="95 % interval over groups",
        contenders=tuple(contenders),
        verdict=summary.verdict,
    )
