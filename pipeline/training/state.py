"""The state of an unfinished training, for `--resume`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...cache.storage.atomic import canonical_json, parse_json, write_durably
from ...errors import RunError
from ..runs.folder import write_metrics
from ..runs.run_config import RESUME, _first_line
from .trainer import Finalist, Trainer


def save_state(run: Path, fit: Trainer) -> None:
    """Write what a resume needs: weights, moments and finalists in one file, and the metrics so far."""
    tensors = {f"head.{name}": tensor for name, tensor in fit.head.state_dict().items()}
    for place, state in fit.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in state.items()}
    for place, finalist in enumerate(fit.finalists):
        tensors |= {f"finalist.{place}.{name}": tensor for name, tensor in finalist.weights.items()}
    told = {
        "history": fit.history,
        "finalists": [[finalist.epoch, finalist.checked_dice] for finalist in fit.finalists],
    }
    write_metrics(run, fit.history)
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_durably(run / RESUME, [save(contiguous, {"state": canonical_json(told).decode()})])


def load_state(run: Path, fit: Trainer) -> None:
    """Put a training back where `save_state` left it; where it never did, the training begins anew.

    Raises:
        RunError: if the file is damaged.
    """
    path = run / RESUME
    if not path.exists():
        return
    try:
        with safe_open(path, "pt") as file:
            told = parse_json(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _put_back(fit, told, tensors)
    except torch.OutOfMemoryError:
        raise
    # Whole, but of something else, a file makes torch raise nearly anything.
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path}: not the state of this training ({_first_line(error)}); remove {run} and train again"
        ) from error


def _put_back(fit: Trainer, told: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    fit.head.load_state_dict(_below("head.", tensors))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        place, field = name.split(".", 1)
        moments.setdefault(int(place), {})[field] = tensor
    fit.optimizer.load_state_dict({**fit.optimizer.state_dict(), "state": moments})
    fit.history = told["history"]
    fit.finalists = [
        Finalist(epoch, checked_dice, _below(f"finalist.{place}.", tensors))
        for place, (epoch, checked_dice) in enumerate(told["finalists"])
    ]


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
