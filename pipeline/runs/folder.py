"""The files of a run folder, and the result of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ...cache.format.decoding import decode_json
from ...cache.storage.atomic import TEMPORARY_SUFFIX, canonical_json, write_durably, write_json
from ...errors import RunError
from ...stages.heads.base import Head
from .run_config import CANDIDATES, CONFIG, HEAD, METRICS, RESUME, SUMMARY
from .text_decision import TextDecision


@dataclass(frozen=True)
class RunSummary:
    """Result of a training, kept in `summary.json`."""

    best_epoch: int
    epochs: int
    ensemble: int
    """Number of members of the head."""
    n_parameters: int
    n_train: int
    """Samples that were trained on."""
    n_val: int
    """Samples that chose the epoch."""
    val_is: str
    """Origin of these samples, in words."""
    val_dice: float
    """Mean over these samples and the foreground classes."""
    classes: tuple[str, ...]
    """Names of the foreground classes."""
    val_class_dice: tuple[float, ...]
    """Mean over the samples for each of them."""
    val_per_sample: tuple[Mapping[str, Any], ...]
    """`id`, `group`, `dice` and `class_dice` of each sample that chose the epoch."""
    text: TextDecision | None = None
    """Decision of `--text auto`; `None`: nothing was to be decided."""
    choice: tuple[Mapping[str, Any], ...] | None = None
    """`name`, `ensemble` and `val_dice` of the runs of which this is the best (`--head auto`)."""
    left_out: Mapping[str, str] | None = None
    """Head that `--head auto` did not train → why."""
    test: Mapping[str, Any] | None = None
    """Scores on the test split (`scoring.summary.scores`); `None`: the cache has no labelled test samples."""

    def to_dict(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def prepare_folder(run: Path, *, resume: bool) -> bool:
    """Refuse a folder that must not be written.

    Returns:
        Whether there is a training to resume.

    Raises:
        RunError: if the folder holds another run, or something else.
    """
    if not run.exists() or (run.is_dir() and all(path.suffix == TEMPORARY_SUFFIX for path in run.iterdir())):
        return False
    if not (run / CONFIG).exists() and not (run / CANDIDATES).exists():
        raise RunError(f"{run}: exists and is not a run; give a new name")
    if not resume:
        state = "a finished run" if (run / SUMMARY).exists() else "a run that did not finish"
        raise RunError(f"{run}: holds {state}; give a new name, or add --resume to resume it")
    return True


def write_metrics(run: Path, history: list[dict[str, float]]) -> None:
    """Write `metrics.jsonl`: one line an epoch."""
    write_durably(run / METRICS, (canonical_json(row) + b"\n" for row in history))


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Read `metrics.jsonl`: the figures of each epoch, which all have the same names.

    Raises:
        RunError: if it is absent or damaged.
    """
    path, repair = run / METRICS, "restore the file, or train again"
    if not path.exists():
        raise RunError(f"{run}: lacks {METRICS}; {repair}")
    decode = partial(decode_json, file=path, what="the metrics of a run", repair=repair, error=RunError)
    rows = [decode(line, dict[str, float]) for line in path.read_bytes().splitlines()]
    if not rows or any("epoch" not in row or row.keys() != rows[0].keys() for row in rows):
        raise RunError(f"{path}: not the metrics of a run (epochs or figures are missing); {repair}")
    return rows


def finish_run(run: Path, head: Head, history: list[dict[str, float]], summary: RunSummary) -> None:
    """Write the head, the metrics and, last, the summary, which marks the run as finished; remove the resume file."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_durably(run / HEAD, [save(tensors)])
    write_metrics(run, history)
    write_json(run / SUMMARY, summary.to_dict())
    (run / RESUME).unlink(missing_ok=True)


def read_summary(run: Path) -> RunSummary:
    """Read `summary.json` of a finished run.

    Raises:
        RunError: if it is not one.
    """
    path = run / SUMMARY
    repair = "remove it, and repeat the `textdiff train-head` command with --resume"
    return decode_json(path.read_bytes(), RunSummary, path, what="the summary of a run", repair=repair, error=RunError)
