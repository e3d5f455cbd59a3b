"""Live logs of a training beside `metrics.jsonl`: one protocol, and a module for each of `--log`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ...errors import ConfigError
from ..config.training import LogKind
from ..runs.folder import RunSummary
from ..runs.run_config import RunConfig

LIBRARIES: Mapping[LogKind, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""Modules that a log needs, all from the extra of its name."""


class TrainingLog(Protocol):
    """Log of a training, whose methods are called in this order."""

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """Record the figures of an epoch, `epoch` among them; again after a resume if they were recorded before."""

    def finish(self, summary: RunSummary, report: Path) -> None:
        """Record the result of the training, with its page."""


class NoLog:
    """A log that keeps nothing."""

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def finish(self, summary: RunSummary, report: Path) -> None:
        """Nothing."""


def require_log(kind: LogKind | None) -> None:
    """Refuse a log whose library is not installed, before anything is written.

    Raises:
        ConfigError: with the command that installs it.
    """
    absent = [name for name in LIBRARIES[kind] if find_spec(name) is None] if kind else []
    if absent:
        raise ConfigError(f"--log {kind}: {' and '.join(absent)} not installed; run `pip install 'textdiff[{kind}]'`")


@contextmanager
def open_log(kind: LogKind | None, run: Path, config: RunConfig, n_done: int) -> Iterator[TrainingLog]:
    """Open the log of a training.

    Args:
        kind: `tensorboard`: event files in the run's folder; `mlflow`: a run of MLflow; `None`: nothing.
        run: the run's folder.
        config: the settings, resolved.
        n_done: finished epochs of an earlier attempt.

    Raises:
        RunError: if the log cannot be written, here or later.
    """
    if kind is None:
        yield NoLog()
        return
    # By name, since each of them imports a library that few have.
    module = import_module(f".{kind}_log", __package__)
    with module.open_log(run, config, n_done) as log:
        yield log
