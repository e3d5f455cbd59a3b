"""Files of OpenAI's guided-diffusion, read without running anything that they hold: a UNet's tensors by name."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import SourceError

_MARK = "input_blocks."
"""Every UNet of guided-diffusion has tensors of this name, after whatever prefix its trainer put before it."""


def read_state(source: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by guided-diffusion's own names, on the CPU and in the file's dtypes.

    A state dict may stand inside one more dict, and all its names may share a prefix (`module.`), which is taken off.

    Args:
        source: what the user gave, for messages.
        path: a `.pt` or `.pth` of `torch.save`, of which nothing but tensors is unpickled, or a `.safetensors`.

    Raises:
        SourceError: there is no such file, it cannot be read as what its name says, or it holds no UNet, or several.
    """
    state = _only_state(source, _read(source, path))
    strangers = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strangers:
        raise SourceError(f"{source}: expected tensors alone in the state dict, which also holds {_some(strangers)}")
    prefix = next(name.partition(_MARK)[0] for name in state if _MARK in name)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _read(source: str, path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise SourceError(f"{source}: there is no such file; expected a checkpoint (.pt, .pth or .safetensors)")
    if path.suffix not in (".pt", ".pth", ".safetensors"):
        raise SourceError(f"{source}: a file of no known kind; expected .pt, .pth or .safetensors")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Files from before torch 1.6 are no zip archives and cannot be mapped into memory.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(
            f"{source}: it cannot be read as tensors alone ({reason}); fetch it again, or save its state dict "
            "by itself, with torch.save or safetensors"
        ) from error
    return content if isinstance(content, Mapping) else {}


def _only_state(source: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    parts = {"": content, **{name: part for name, part in content.items() if isinstance(part, Mapping)}}
    found = {name: part for name, part in parts.items() if any(_MARK in str(key) for key in part)}
    if not found:
        held = f"it holds {_some(content)}" if content else "it holds no named tensors"
        raise SourceError(
            f"{source}: expected the state dict of a guided-diffusion UNet ({_MARK}0.0.weight ...); {held}"
        )
    if len(found) > 1:
        raise SourceError(
            f"{source}: it holds several state dicts ({', '.join(found)}); save the one wanted by itself, usually "
            "the averaged weights (EMA)"
        )
    return next(iter(found.values()))


def _some(names: Mapping[str, Any] | list[str]) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
