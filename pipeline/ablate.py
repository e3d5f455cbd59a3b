"""Which timesteps carry the segmentation: heads trained on subsets of one cache, nothing of stage one loaded."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cache.durable import write_durably, write_json
from ..cache.reader import FeatureReader
from .commands import command_line
from .device import resolve_device
from .fit import Fit
from .head_config import AblateConfig, TrainConfig
from .head_data import open_head_data
from .plots import plot_ablation
from .progress import Progress
from .report_ablate import AblationOutcome, Contender, write_ablation_report
from .scoring import parents
from .splits import Split, choose_split


@dataclass(frozen=True)
class AblationRow:
    """One subset of timesteps."""

    timesteps: tuple[int, ...]
    dice: tuple[float, ...]
    """Mean Dice per sample on the validation images, one for each seed."""

    @property
    def name(self) -> str:
        """The subset as the flag writes it."""
        return ",".join(map(str, self.timesteps))

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.dice)

    @property
    def std(self) -> float:
        """Sample standard deviation over the seeds; 0 for a single one."""
        return statistics.stdev(self.dice) if len(self.dice) > 1 else 0.0


@dataclass(frozen=True)
class AblationSummary:
    """The table."""

    out: str
    scored_on: str
    seeds: tuple[int, ...]
    rows: tuple[AblationRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and `ablation.json`."""
        rows = [{**asdict(row), "mean": row.mean, "std": row.std, "n_seeds": len(row.dice)} for row in self.rows]
        return {"out": self.out, "scored_on": self.scored_on, "seeds": list(self.seeds), "rows": rows}

    def lines(self) -> list[str]:
        """The table for a terminal."""
        width = max(len("timesteps"), *(len(row.name) for row in self.rows))
        head = f"{'timesteps':<{width}}  Dice (mean ± std over {len(self.seeds)} seeds, {self.scored_on})"
        return [head, *(f"{row.name:<{width}}  {row.mean:.4f} ± {row.std:.4f}" for row in self.rows)]


def ablate_timesteps(config: AblateConfig, progress: Progress | None = None) -> AblationSummary:
    """Train a head for each subset and seed, and write `ablation.csv`, `ablation.json` and `ablation.png`.

    Only the arrays of the timesteps named are read; heads see no filters of the images, which belong to no timestep.

    Args:
        config: settings.
        progress: where to report; `None`: nowhere.

    Raises:
        CacheError: if the cache cannot be read or lacks a timestep or block.
        DataError: if there are too few labelled samples.
    """
    progress = progress or Progress()
    reader = FeatureReader(config.cache)
    subsets = config.subsets or _default_subsets(reader.timesteps)
    reader.require(config.blocks or reader.blocks, sorted({timestep for subset in subsets for timestep in subset}))
    device = resolve_device(config.device)
    rows, val_is = [], ""
    with progress.task("ablate", len(subsets) * len(config.seeds), "heads") as task:
        for subset in subsets:
            dice = []
            for seed in config.seeds:
                score, val_is = _train_one(config, reader, subset, seed, device)
                dice.append(score)
                task.advance(1, dice=score)
            rows.append(AblationRow(tuple(subset), tuple(dice)))
            # After every subset, so that an interrupt leaves the table of those that are done.
            summary = AblationSummary(str(config.out), val_is, config.seeds, tuple(rows))
            _write(config.out, summary)
    write_ablation_report(config.out, _outcome(config, summary), reader)
    return summary


def _default_subsets(timesteps: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    singles = tuple((timestep,) for timestep in timesteps)
    return singles if len(singles) == 1 else (*singles, tuple(timesteps))


def _train_one(
    config: AblateConfig, reader: FeatureReader, subset: Sequence[int], seed: int, device: str
) -> tuple[float, str]:
    settings = TrainConfig(
        cache=config.cache,
        run=config.out,
        timesteps=tuple(subset),
        blocks=config.blocks,
        text=config.text,
        seed=seed,
        epochs=config.epochs,
        device=device,
    )
    data = open_head_data(
        reader,
        blocks=settings.blocks,
        timesteps=subset,
        text=settings.text,
        seed=seed,
        device=device,
        filters=False,  # they are of no timestep, and would make up for what a subset lacks
    )
    split: Split = choose_split(reader, settings)
    fit = Fit(data, split.train, split.val, settings)
    while fit.epoch < fit.n_epochs:
        fit.run_epoch()
    _, dice = fit.finish()
    return float(dice.mean()), f"{len(parents(split.val))} images of {split.val_is.partition(' with seed ')[0]}"


def _outcome(config: AblateConfig, summary: AblationSummary) -> AblationOutcome:
    contenders = []
    for row in summary.rows:
        training = TrainConfig(
            config.cache, Path("RUN"), timesteps=row.timesteps, blocks=config.blocks, text=config.text, filters=False,
            epochs=config.epochs, device=config.device,
        )  # fmt: skip
        span = (row.mean - row.std, row.mean + row.std)
        contenders.append(Contender(row.name, row.mean, span, row.dice, command=command_line("train-head", training)))
    return AblationOutcome(
        command=command_line("ablate-timesteps", config),
        over="timesteps",
        scored_on=summary.scored_on,
        n_scored=int(summary.scored_on.split()[0]),
        span_is="mean ± standard deviation over seeds",
        contenders=tuple(contenders),
    )


def _write(out: Path, summary: AblationSummary) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["timesteps", "dice_mean", "dice_std", "n_seeds", *(f"dice_seed_{seed}" for seed in summary.seeds)])
    for row in summary.rows:
        writer.writerow([row.name, row.mean, row.std, len(row.dice), *row.dice])
    write_durably(out / "ablation.csv", [table.getvalue().encode()])
    write_json(out / "ablation.json", summary.to_dict())
    names = [row.name for row in summary.rows]
    picture = plot_ablation(
        names, [row.mean for row in summary.rows], [row.std for row in summary.rows], summary.scored_on
    )
    write_durably(out / "ablation.png", [picture])
