"""The trained head of a run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from ...errors import RunError
from ...stages.heads.base import Head
from ...stages.heads.ensemble import ensemble_of
from ...stages.heads.kinds import HEADS
from .run_config import HEAD, SUMMARY, RunConfig, first_line


def load_head(run: Path, config: RunConfig, device: str) -> Head:
    """Load a finished run's head, in evaluation mode.

    Raises:
        RunError: if the training did not finish or the weights are not this head's.
    """
    if not (run / SUMMARY).exists():
        raise RunError(f"{run}: its training did not finish; repeat the `textdiff train-head` command with --resume")
    head_class = HEADS[config.train["head"]]
    with torch.random.fork_rng(devices=[]):  # initial weights, to be replaced, draw from the caller's generator
        head = ensemble_of([head_class(config.head) for _ in range(config.train["ensemble"])])
    try:
        head.load_state_dict(load((run / HEAD).read_bytes()))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{run / HEAD}: not the weights of this run's head ({first_line(error)}); restore the file, or train again"
        ) from error
    head.precision = config.train["precision"]
    return head.eval().to(device)
