"""`--head auto`: heads trained one after another, each a run of its own; the best on held-out groups is the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...cache.reader import FeatureReader
from ...cache.storage.atomic import parse_json, write_durably, write_json
from ...errors import ConfigError, RunError
from ..config.command_line import write_command
from ..config.training import AUTO_HEADS, TrainConfig
from ..runs.folder import prepare_folder, read_metrics, read_summary
from ..runs.heads import load_head
from ..runs.run_config import CANDIDATES, CONFIG, HEAD, METRICS, PROJECTIONS, SUMMARY, RunConfig
from ..runtime.folders import locked_folder, no_empty_folder
from ..runtime.progress import Progress
from .report import write_train_report
from .result import TrainSummary
from .schedule import STEPS_OF_CROPS
from .trainer import Trainer

PLAN = "plan.json"
"""Candidate → its epochs by `--minutes`, 0 where they did not allow it: kept for `--resume`."""
SHORTEST = 0.5
"""Of the usual training with few images; less is not worth its time."""
BESIDE_STEPS = 1.25
"""A training's time ÷ that of its steps: checks, the choice of the epoch, scores and the report come on top."""

Training = Callable[[TrainConfig, Progress], TrainSummary]
"""Trains one head into a folder of its own, or goes on with it."""
Candidate = tuple[TrainConfig, TrainSummary]
"""A run of which the best is kept: its settings and result."""


def train_auto(config: TrainConfig, train: Training, progress: Progress) -> TrainSummary:
    """Train the candidates that the minutes allow, and make the best the run.

    Args:
        config: settings with `--head auto`.
        train: for each candidate.
        progress: where to report.

    Raises:
        RunError: if the folder holds something else, or was begun with another head.
        TextdiffError: as for one head.
    """
    started = time.monotonic()
    prepare_folder(config.run, resume=config.resume)
    if (config.run / CONFIG).exists() and not (config.run / CANDIDATES).exists():
        raise RunError(f"{config.run}: was begun with --head; repeat the command that began it, or give a new name")
    with locked_folder(config.run), no_empty_folder(config.run):
        trained, left_out = _train_candidates(config, train, progress, started)
        if not (config.run / SUMMARY).exists():
            _publish(config, trained, left_out)
    return TrainSummary(str(config.run), read_summary(config.run), time.monotonic() - started)


def _train_candidates(
    config: TrainConfig, train: Training, progress: Progress, started: float
) -> tuple[list[Candidate], dict[str, str]]:
    """Each head once, for as many epochs as the minutes allow; and why others than the first are left out."""
    trained: list[Candidate] = []
    left_out: dict[str, str] = {}
    for head in AUTO_HEADS:
        candidate = replace(config, head=head, run=config.run / CANDIDATES / head, minutes=None, resume=True)
        try:
            if config.minutes:
                epochs = _planned_epochs(candidate, started + 60 * config.minutes, is_first=not trained)
                if not epochs:
                    left_out[head] = f"--minutes {config.minutes:g} leave too little time"
                    continue
                candidate = replace(candidate, epochs=epochs)
            trained.append((candidate, train(candidate, progress)))
        except ConfigError as error:
            if not trained:
                raise
            left_out[head] = str(error)
    return trained, left_out


def _planned_epochs(candidate: TrainConfig, ends: float, *, is_first: bool) -> int:
    """Epochs that the time left allows, too few of them none; as they were when the candidate was first reached.

    Args:
        candidate: settings; epochs that they give are neither more nor fewer.
        ends: when the minutes are over, of `time.monotonic`.
        is_first: whether it is trained in any case, and then for the fewest that are worth their time.
    """
    path = candidate.run.parent / PLAN
    plan: dict[str, int] = parse_json(path.read_bytes()) if path.exists() else {}
    if candidate.run.name not in plan:
        trainer = Trainer.from_config(candidate, FeatureReader(candidate.cache))
        fitting = min((ends - time.monotonic()) / (BESIDE_STEPS * trainer.estimate_seconds()), 1.0)
        least = 1.0 if candidate.epochs else SHORTEST * min(STEPS_OF_CROPS[0] / trainer.objective.min_steps, 1.0)
        share = fitting if fitting >= least else least * is_first
        plan[candidate.run.name] = int(candidate.settings.epochs * share)
        write_json(path, plan)
    return plan[candidate.run.name]


def _best(trained: Sequence[Candidate]) -> Candidate:
    return max(trained, key=lambda one: one[1].summary.val_dice)


def _publish(config: TrainConfig, trained: Sequence[Candidate], left_out: Mapping[str, str]) -> None:
    """Copy the best candidate's files to the run, the summary last, with a report that names them all."""
    best = _best(trained)[0].run
    each = [(one.run.name, result.summary) for one, result in trained]
    choice = tuple({"name": name, "ensemble": one.ensemble, "val_dice": one.val_dice} for name, one in each)
    run, summary = RunConfig.read(best), replace(read_summary(best), choice=choice, left_out=left_out or None)
    for name in (CONFIG, HEAD, METRICS, PROJECTIONS):
        if (best / name).exists():
            write_durably(config.run / name, [(best / name).read_bytes()])
    own = run.train_config(config.run, config.cache)
    trainer = Trainer.from_config(own, FeatureReader(config.cache))
    trainer.head.load_state_dict(load_head(best, run, own.device).state_dict())
    if summary.text:
        trainer.decide(summary.text)
    trainer.history = read_metrics(best)
    write_train_report(own, trainer, summary)
    write_command(config.run, "train-head", config)
    write_json(config.run / SUMMARY, summary.to_dict())
