"""The state of an unfinished training, for `--resume`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...cache.storage.atomic import canonical_json, parse_json, write_durably
from ...errors import RunError
from ..runs.folder import write_metrics
from ..runs.run_config import RESUME, first_line
from ..runs.text_decision import TextDecision
from ..runtime.conditions import conditions_of, differences
from .trainer import Finalist, Trainer


def save_state(run: Path, trainer: Trainer) -> None:
    """Write weights, optimiser state and finalists in one file, and the metrics so far."""
    tensors = {f"head.{name}": tensor for name, tensor in trainer.head.state_dict().items()}
    for i, moments in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in moments.items()}
    for i, finalist in enumerate(trainer.finalists):
        tensors |= {f"finalist.{i}.{name}": tensor for name, tensor in finalist.weights.items()}
    state = {
        "conditions": conditions_of(trainer.data.device),
        "history": trainer.history,
        "text_decision": trainer.text_decision and vars(trainer.text_decision),
        "finalists": [[finalist.epoch, finalist.checked_dice] for finalist in trainer.finalists],
    }
    write_metrics(run, trainer.history)
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_durably(run / RESUME, [save(contiguous, {"state": canonical_json(state).decode()})])


def load_state(run: Path, trainer: Trainer) -> str:
    """Restore the state that `save_state` wrote; without one, the training starts from the beginning.

    Returns:
        Conditions that differ from those of the training so far, in words; "" where none do.

    Raises:
        RunError: if the file is damaged.
    """
    path = run / RESUME
    if not path.exists():
        return ""
    try:
        with safe_open(path, "pt") as file:
            state = parse_json(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _restore(trainer, state, tensors)
        return differences(state.get("conditions", {}), conditions_of(trainer.data.device))
    except torch.OutOfMemoryError:
        raise
    # A sound file with other content makes torch raise nearly anything.
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path}: not the state of this training ({first_line(error)}); remove {run} and train again"
        ) from error


def _restore(trainer: Trainer, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    trainer.head.load_state_dict(_below("head.", tensors))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        i, field = name.split(".", 1)
        moments.setdefault(int(i), {})[field] = tensor
    trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": moments})
    trainer.history = state["history"]
    if decision := state["text_decision"]:
        trainer.decide(msgspec.convert(decision, TextDecision))
    trainer.finalists = [
        Finalist(epoch, checked_dice, _below(f"finalist.{i}.", tensors))
        for i, (epoch, checked_dice) in enumerate(state["finalists"])
    ]


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
