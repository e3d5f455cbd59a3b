"""The principal components that a run's features were projected with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ...cache.format.blocks import Block, Pair, block_from_json
from ...cache.format.manifest import Manifest
from ...cache.format.projections import Projections, projection_digest
from ...cache.storage.atomic import write_durably
from ...errors import RunError
from ...stages.features.compression import Projection
from .run_config import CONFIG, PROJECTIONS, RunConfig


def projection_digests(manifest: Manifest, pairs: Collection[Pair]) -> dict[str, str]:
    """`block/timestep` → digest of its projection, for those of the pairs that have one."""
    return {_name(*record.pair): record.digest for record in manifest.projections if record.pair in pairs}


def projection_differences(config: RunConfig, manifest: Manifest) -> list[str]:
    """One line for each block and timestep of the run whose channels the cache projects on other components."""
    there, here = config.projections, projection_digests(manifest, config.pairs)
    return [
        f"projection of block/timestep {name}: the run has {there.get(name, 'none')[:12]}, "
        f"the cache has {here.get(name, 'none')[:12]} (fitted on other images)"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def save_projections(run: Path, projections: Projections) -> None:
    """Write a cache's projections beside the head, which needs them; no file where there are none."""
    if projections:
        tensors = {_name(*pair): torch.from_numpy(array) for pair, array in projections.items()}
        write_durably(run / PROJECTIONS, [save(tensors)])


def load_projections(run: Path, config: RunConfig, device: str) -> dict[Pair, Projection]:
    """(block, timestep) → projection of its channels; empty where all channels are the models' own.

    Raises:
        RunError: if the file is absent or is not this run's.
    """
    if not config.projections:
        return {}
    path = run / PROJECTIONS
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore the file, or train again") from error
    if {name: projection_digest(tensor.numpy()) for name, tensor in tensors.items()} != config.projections:
        raise RunError(f"{path}: not the projections of {run / CONFIG}; restore the file, or train again")
    pairs = {name: name.rpartition("/") for name in tensors}
    return {
        (block_from_json(block), int(timestep)): Projection.from_rows(tensors[name]).to(device)
        for name, (block, _, timestep) in pairs.items()
    }


def _name(block: Block, timestep: int) -> str:
    return f"{block}/{timestep}"
