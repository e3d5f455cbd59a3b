"""Files of OpenAI's guided-diffusion, read without running their code: a UNet's tensors by name."""

from __future__ import annotations

import itertools
import pickletools
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ....errors import SourceError
from ...sources.loading import silenced

_OLD_PICKLES = 4
"""In a file from before torch 1.6: a magic number, the version, the machine, the tensors' names."""
_LONGEST_NAME = 2000
_MARK = "input_blocks."
"""Every UNet of guided-diffusion has tensors of this name, after whatever prefix its trainer put before it."""


def read_weights(source: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by guided-diffusion's own names, on the CPU and in the file's dtypes.

    A state dict may stand inside one more dict, and all its names may share a prefix (`module.`), which is taken off.

    Args:
        source: what the user gave, for messages.
        path: a `.pt` or `.pth` of `torch.save`, of which nothing but tensors is unpickled, or a `.safetensors`.

    Raises:
        SourceError: there is no such file, it cannot be read as what its name says, it holds no UNet, or several, or
            one whose weights are no plain floats.
    """
    state = _only_state(source, _read(source, path))
    _refuse_odd(source, state)
    prefix = next(name.partition(_MARK)[0] for name in state if _MARK in name)
    named = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if len(named) < len(state):
        twice = [name for name in state if prefix and prefix + name in state]
        raise SourceError(
            f"{source}: it holds {_some(twice)} both with and without {prefix!r} before the name; save one model's "
            "state dict by itself"
        )
    return named


def _read(source: str, path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise SourceError(f"{source}: there is no such file; expected a checkpoint (.pt, .pth or .safetensors)")
    if path.suffix not in (".pt", ".pth", ".safetensors"):
        raise SourceError(f"{source}: a file of no known kind; expected .pt, .pth or .safetensors")
    try:
        with silenced():
            content = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except MemoryError as error:
        raise SourceError(f"{source}: it needs more memory than there is: it is damaged, or too large") from error
    except PermissionError as error:
        raise SourceError(f"{source}: it cannot be read: {error.strerror}") from error
    except Exception as error:  # damaged bytes make either library raise nearly anything
        # torch's own message stays out: it advises to run the file's code.
        raise SourceError(
            f"{source}: it is no checkpoint, or holds more than tensors; fetch it again, or save its state dict by "
            "itself, with torch.save or safetensors"
        ) from error
    return content if isinstance(content, Mapping) else {}


def _unpickle(path: Path) -> Any:  # noqa: ANN401
    # Files from before torch 1.6 are no zip archives and cannot be mapped into memory.
    is_archive = zipfile.is_zipfile(path)
    _refuse_long_names(path, is_archive)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)


def _refuse_long_names(path: Path, is_archive: bool) -> None:
    """Refuse pickles with endless names: torch searches its own message for words, in time quadratic in length."""
    with ExitStack() as stack:
        if is_archive:
            archive = stack.enter_context(zipfile.ZipFile(path))
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            streams, n_pickles = [stack.enter_context(archive.open(name)) for name in names], 1
        else:
            streams, n_pickles = [stack.enter_context(path.open("rb"))], _OLD_PICKLES
        for stream in streams:
            for _, argument, _ in itertools.chain.from_iterable(pickletools.genops(stream) for _ in range(n_pickles)):
                if isinstance(argument, str) and len(argument) > _LONGEST_NAME:
                    raise ValueError(f"a name of {len(argument)} characters")


def _refuse_odd(source: str, state: Mapping[Any, Any]) -> None:
    unmatched = [name for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if unmatched:
        raise SourceError(
            f"{source}: expected tensors alone in the state dict, by name, which also holds {_some(unmatched)}"
        )
    odd = [name for name, tensor in state.items() if not tensor.is_floating_point() or tensor.layout != torch.strided]
    if odd:
        raise SourceError(
            f"{source}: expected plain floating-point weights; {_some(odd)} are of {state[odd[0]].dtype} (a quantised "
            "model?); convert the original checkpoint"
        )


def _only_state(source: str, content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    parts = {"the file itself": content, **{name: part for name, part in content.items() if isinstance(part, Mapping)}}
    states = {name: part for name, part in parts.items() if any(_MARK in str(key) for key in part)}
    if not states:
        held = f"it holds {_some(content)}" if content else "it holds no named tensors"
        raise SourceError(
            f"{source}: expected the state dict of a guided-diffusion UNet ({_MARK}0.0.weight ...); {held}"
        )
    if len(states) > 1:
        raise SourceError(
            f"{source}: it holds several state dicts ({_some(states)}); save the one wanted by itself, usually "
            "the averaged weights (EMA)"
        )
    return next(iter(states.values()))


def _some(names: Mapping[Any, Any] | list[Any]) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
