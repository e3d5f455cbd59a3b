"""Live log of a training beside `metrics.jsonl`, for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ...errors import ConfigError
from ..config.training import LogKind

Log = Callable[[Mapping[str, float]], None]
"""Records the figures of an epoch, `epoch` among them."""


def require_log(kind: LogKind) -> None:
    """Refuse a log whose library is not installed, before anything is written.

    Raises:
        ConfigError: with the command that installs it.
    """
    if find_spec(kind) is None:
        raise ConfigError(f"--log {kind}: {kind} is not installed; run `pip install 'textdiff[{kind}]'`")


@contextmanager
def open_log(kind: LogKind | None, run: Path, n_done: int) -> Iterator[Log]:
    """Open the log of a training.

    Args:
        kind: `tensorboard`: event files in the run's folder; `None`: nothing.
        run: the run's folder.
        n_done: finished epochs of an earlier attempt; events of later epochs are withdrawn.
    """
    if kind is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / kind), purge_step=n_done + 1) as writer:
        yield lambda row: _add(writer.add_scalar, row)


def _add(add_scalar: Callable[[str, float, int], None], row: Mapping[str, float]) -> None:
    for name, value in row.items():
        if name != "epoch":
            add_scalar(name, value, int(row["epoch"]))
