"""`--log tensorboard`: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import RunError
from ..runs.folder import RunSummary
from ..runs.run_config import RunConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class EventLog:
    """Scalars of each epoch; the result stands in the run's folder beside them.

    Args:
        writer: of event files.
        folder: that they are in.
    """

    def __init__(self, writer: SummaryWriter, folder: Path) -> None:
        self._writer, self._folder = writer, folder

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """A scalar for each figure."""
        with _writing(self._folder):
            for name, value in row.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, int(row["epoch"]))

    def finish(self, summary: RunSummary, report: Path) -> None:
        """Nothing: both stand in the run's folder."""


@contextmanager
def open_log(run: Path, config: RunConfig, n_done: int) -> Iterator[EventLog]:
    """Open the event files; events of epochs after `n_done` are withdrawn.

    Raises:
        RunError: if they cannot be written, here or later.
    """
    from torch.utils.tensorboard import SummaryWriter

    folder = run / FOLDER
    with _writing(folder):
        writer = SummaryWriter(str(folder), purge_step=n_done + 1)
    try:
        yield EventLog(writer, folder)
    finally:
        with _writing(folder):
            writer.close()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"--log tensorboard: {folder} cannot be written ({error.strerror or error}); free its place, then repeat "
            "the command with --resume, or without --log"
        ) from error
