"""`--head auto`: heads trained one after another, each a run of its own; the best on held-out groups is the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...cache.reader import FeatureReader
from ...cache.storage.atomic import parse_json, write_durably, write_json
from ...errors import ConfigError, RunError
from ..config.training import AUTO_HEADS, HeadKind, TrainConfig
from ..runs.folder import prepare_folder, read_summary
from ..runs.heads import load_head
from ..runs.run_config import CANDIDATES, CONFIG, HEAD, METRICS, PROJECTIONS, SUMMARY, RunConfig
from ..runtime.folders import locked_folder, no_empty_folder
from ..runtime.progress import Progress
from .report import write_train_report
from .result import TrainSummary
from .trainer import Trainer

PLAN = "plan.json"
"""Candidate → members of its ensemble, 0 where the minutes did not allow it: kept for `--resume`."""
MOST_MEMBERS = 4
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
        trained = _train_candidates(config, train, progress, started)
        if not (config.run / SUMMARY).exists():
            _publish(config, trained)
    return TrainSummary(str(config.run), read_summary(config.run), time.monotonic() - started)


def _train_candidates(config: TrainConfig, train: Training, progress: Progress, started: float) -> list[Candidate]:
    """Each head once, and an ensemble of the best if the minutes allow two members and more."""
    plan = _Plan(config, started)
    trained: list[Candidate] = []
    for head in AUTO_HEADS:
        candidate = _candidate(config, head)
        try:
            if trained and not plan.members(candidate, _estimated_seconds):
                progress.say(f"--minutes {config.minutes:g} leave no time for --head {head}: it is left out")
                continue
            trained.append((candidate, train(candidate, progress)))
        except ConfigError as error:
            if not trained:
                raise
            progress.say(f"--head {head} is left out: {error}")
    candidate, alone = _best(trained)
    several = replace(candidate, run=candidate.run.with_name(f"{candidate.head}-ensemble"))
    if config.minutes and config.ensemble == 1 and (n := plan.members(several, lambda _: alone.seconds)) > 1:
        trained.append((several, train(replace(several, ensemble=n), progress)))
    return trained


def _candidate(config: TrainConfig, head: HeadKind) -> TrainConfig:
    return replace(config, head=head, run=config.run / CANDIDATES / head, minutes=None, resume=True)


def _best(trained: Sequence[Candidate]) -> Candidate:
    return max(trained, key=lambda one: one[1].summary.val_dice)


class _Plan:
    """What the minutes allow, as it was decided when a candidate was first reached.

    Args:
        config: of the whole.
        started: when the minutes began, of `time.monotonic`.
    """

    def __init__(self, config: TrainConfig, started: float) -> None:
        self._path = config.run / CANDIDATES / PLAN
        self._ends = None if config.minutes is None else started + 60 * config.minutes
        self._members: dict[str, int] = parse_json(self._path.read_bytes()) if self._path.exists() else {}

    def members(self, candidate: TrainConfig, seconds_of: Callable[[TrainConfig], float]) -> int:
        """Members that the time left is enough for; 0 for none.

        Args:
            candidate: with one of them.
            seconds_of: gives the seconds that one takes.
        """
        if self._ends is None:
            return 1
        if candidate.run.name not in self._members:
            one = max(seconds_of(candidate), 0.1)
            self._members[candidate.run.name] = min(MOST_MEMBERS, max(0, int((self._ends - time.monotonic()) / one)))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._members)
        return self._members[candidate.run.name]


def _estimated_seconds(config: TrainConfig) -> float:
    return BESIDE_STEPS * Trainer.from_config(config, FeatureReader(config.cache)).estimate_seconds()


def _publish(config: TrainConfig, trained: Sequence[Candidate]) -> None:
    """Copy the best candidate's files to the run, the summary last, with a report that names them all."""
    best = _best(trained)[0].run
    each = [(one.run.name, result.summary) for one, result in trained]
    choice = tuple({"name": name, "ensemble": one.ensemble, "val_dice": one.val_dice} for name, one in each)
    run, summary = RunConfig.read(best), replace(read_summary(best), choice=choice)
    for name in (CONFIG, HEAD, METRICS, PROJECTIONS):
        if (best / name).exists():
            write_durably(config.run / name, [(best / name).read_bytes()])
    own = replace(run.train_config(config.run), cache=config.cache)
    trainer = Trainer.from_config(own, FeatureReader(config.cache))
    trainer.head.load_state_dict(load_head(best, run, own.device).state_dict())
    trainer.history = [parse_json(line) for line in (best / METRICS).read_bytes().splitlines()]
    write_train_report(own, trainer, summary)
    write_json(config.run / SUMMARY, summary.to_dict())
