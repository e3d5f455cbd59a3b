"""Weight files of a model's folder: which variant is there, and names without what wrappers put before them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from os.path import commonprefix
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from ...errors import SourceError

_COMPILED = "_orig_mod."
"""Prefix of torch.compile before the names of a module, at any depth."""


class WeightFiles(NamedTuple):
    """The files that hold a model's weights, one or several shards."""

    paths: tuple[Path, ...]
    """Empty: there are none."""
    variant: str | None
    """`fp16` of `model.fp16.safetensors`; `None`: of plain names, or there are none."""
    are_safetensors: bool


def find_weights(source: str, folder: Path, stems: Mapping[str, str]) -> WeightFiles:
    """The weights to load: those of plain names, else of the one variant that is there; safetensors first.

    Args:
        source: for messages.
        folder: the model's.
        stems: ending of the files (`safetensors`, `bin`) → their name before it.

    Raises:
        SourceError: several variants are there, and no file of a plain name.
    """
    for ending, stem in stems.items():
        named = re.compile(rf"{stem}(?:\.(?P<variant>[^.]+?))?(?:-\d{{5}}-of-\d{{5}})?\.{ending}")
        variants: dict[str | None, list[Path]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if match := named.fullmatch(path.name):
                variants.setdefault(match["variant"], []).append(path)
        if len(variants) > 1 and None not in variants:
            listed = ", ".join(path.name for paths in variants.values() for path in paths)
            raise SourceError(
                f"{source}: {folder} holds weights of several variants ({listed}), and none is named {stem}.{ending}; "
                "rename the one that is meant to that, or leave only this one in the folder"
            )
        if variants:
            variant = None if None in variants else next(iter(variants))
            return WeightFiles(tuple(variants[variant]), variant, ending == "safetensors")
    return WeightFiles((), None, are_safetensors=True)


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Name in a file → the model's own, for names to which torch.compile or a wrapper added.

    `_orig_mod.` goes wherever it stands, and with it what stands before all names (`module.`, `model.`).
    """
    plain = {name: name.replace(_COMPILED, "") for name in names}
    shared = commonprefix([*plain.values()]).rpartition(".")  # noqa: RUF071 - cut at a dot here
    n_shared = len(shared[0]) + len(shared[1])
    return {name: own[n_shared:] for name, own in plain.items()}


def read_unwrapped(source: str, files: WeightFiles) -> dict[str, Tensor]:
    """The tensors of the files by their model's own names, on the CPU and in the files' dtypes.

    Raises:
        SourceError: a tensor is there under two names that are one.
    """
    state: dict[str, Tensor] = {}
    for path in files.paths:
        state |= load_file(path) if files.are_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    own = unwrapped(state)
    if len({*own.values()}) < len(own):
        twice = sorted(name for name, plain in own.items() if plain != name and [*own.values()].count(plain) > 1)
        raise SourceError(
            f"{source}: it holds {', '.join(twice[:3])} both with and without what stands before the name; save one "
            "model's state dict by itself"
        )
    return {own[name]: tensor for name, tensor in state.items()}
