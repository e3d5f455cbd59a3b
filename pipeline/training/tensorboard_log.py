"""`--log tensorboard`: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..runs.folder import RunSummary
from ..runs.run_config import RunConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class EventLog:
    """Scalars of each epoch; the result stands in the run's folder beside them."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """A scalar for each figure."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))

    def finish(self, summary: RunSummary, report: Path) -> None:
        """Nothing: both stand in the run's folder."""


@contextmanager
def open_log(run: Path, config: RunConfig, n_done: int) -> Iterator[EventLog]:
    """Open the event files; events of epochs after `n_done` are withdrawn."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / FOLDER), purge_step=n_done + 1) as writer:
        yield EventLog(writer)
