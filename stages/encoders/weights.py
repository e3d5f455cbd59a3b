"""Tensors of an encoder's weight file, read without running its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ...errors import SourceError
from ..sources.loading import loading

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
N_NAMED = 5
_INSIDE = ("state_dict", "model", "model_state")
"""Names under which trainers keep the weights in a file that holds more."""


def read_tensors(source: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name, in the file's dtypes; `module.` before all names is taken off.

    Args:
        source: what the user gave, for messages.
        path: a `.safetensors`, or a file of `torch.save`, of which nothing but tensors is unpickled.

    Raises:
        SourceError: there is no such file, or it holds anything else.
    """
    if not path.is_file() or path.suffix not in SUFFIXES:
        problem = "it is of no known kind" if path.is_file() else "there is no such file"
        raise SourceError(f"{source}: {path}: {problem}; expected weights in a file {', '.join(SUFFIXES)}")
    with loading(source):
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    inner = content if isinstance(content, Mapping) else {}
    inner = next((inner[name] for name in _INSIDE if isinstance(inner.get(name), Mapping)), inner)
    if not inner or not all(isinstance(tensor, Tensor) for tensor in inner.values()):
        raise SourceError(f"{source}: {path} holds more than tensors by name; save the model's state dict by itself")
    prefix = "module." if all(str(name).startswith("module.") for name in inner) else ""
    return {str(name).removeprefix(prefix): tensor for name, tensor in inner.items()}


def fitting(source: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the tensors that a network has; a classifier's, which it has not, are left out.

    Raises:
        SourceError: with what is missing or of another shape.
    """
    missing = [name for name in expected if name not in state]
    other = [
        f"{name} got {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if missing or other:
        shown = [*(f"missing: {name}" for name in missing[:N_NAMED]), *other[:N_NAMED]]
        raise SourceError(
            f"{source}: the weights are not those of this model: {len(missing)} tensors are missing, {len(other)} of "
            f"another shape ({'; '.join(shown)}); name the model that they are of"
        )
    return {name: state[name] for name in expected}
