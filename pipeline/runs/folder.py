"""The files of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ...cache.storage.atomic import TEMPORARY_SUFFIX, canonical_json, parse_json, write_durably, write_json
from ...errors import RunError
from ...stages.heads.base import Head
from .run_config import CONFIG, HEAD, METRICS, RESUME, SUMMARY


def prepare_folder(run: Path, *, resume: bool) -> bool:
    """Make sure that `run` may be written.

    Returns:
        Whether there is a training to go on with.

    Raises:
        RunError: if another run stands there, or something else.
    """
    if not run.exists() or (run.is_dir() and all(path.suffix == TEMPORARY_SUFFIX for path in run.iterdir())):
        return False
    if not (run / CONFIG).exists():
        raise RunError(f"{run}: exists and is not a run; give a new name")
    if not resume:
        state = "a finished run" if (run / SUMMARY).exists() else "a run that did not finish"
        raise RunError(f"{run}: holds {state}; give a new name, or add --resume to go on with it")
    return True


def write_metrics(run: Path, history: list[dict[str, float]]) -> None:
    """Write `metrics.jsonl`: one line an epoch."""
    write_durably(run / METRICS, (canonical_json(row) + b"\n" for row in history))


def finish_run(run: Path, head: Head, history: list[dict[str, float]], summary: Mapping[str, Any]) -> None:
    """Write the head, the metrics and, last, the summary, which makes the run whole; the resume file goes."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_durably(run / HEAD, [save(tensors)])
    write_metrics(run, history)
    write_json(run / SUMMARY, summary)
    (run / RESUME).unlink(missing_ok=True)


def read_summary(run: Path) -> dict[str, Any]:
    """Read `summary.json` of a finished run.

    Raises:
        RunError: if it is not one.
    """
    try:
        summary = dict(parse_json((run / SUMMARY).read_bytes()))
        _ = summary["best_epoch"], summary["val_dice"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{run / SUMMARY}: not the summary of a run ({error!r}); remove it, and repeat the `textdiff train-head` "
            "command with --resume"
        ) from error
    return summary
