"""Checkpoints of the smallest UNet of guided-diffusion: one level of 32 channels, one residual block, one attention."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH = 32
FLAGS = {
    "image_size": 16, "num_channels": WIDTH, "num_res_blocks": 1, "channel_mult": "1", "attention_resolutions": "",
    "num_heads": 1, "use_scale_shift_norm": False, "use_new_attention_order": False, "noise_schedule": "linear",
    "diffusion_steps": 1000,
}  # fmt: skip


def write_checkpoints(folder: Path) -> None:
    """The same UNet in three formats, and beside the folder the flags that it is read with."""
    folder.with_name("adm_flags.json").write_text(json.dumps(FLAGS), encoding="utf-8")
    tensors = _tensors()
    save_file(tensors, folder / "a.safetensors")
    torch.save(tensors, folder / "a.pt")
    torch.save({"model": tensors}, folder / "old.pt", _use_new_zipfile_serialization=False)


def _tensors() -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "time_embed.0": (4 * WIDTH, WIDTH), "time_embed.2": (4 * WIDTH, 4 * WIDTH),
        "input_blocks.0.0": (WIDTH, 3, 3, 3), **_residual("input_blocks.1.0", WIDTH),
        **_residual("middle_block.0", WIDTH), "middle_block.1.norm": (WIDTH,),
        "middle_block.1.qkv": (3 * WIDTH, WIDTH, 1), "middle_block.1.proj_out": (WIDTH, WIDTH, 1),
        **_residual("middle_block.2", WIDTH), **_residual("output_blocks.0.0", 2 * WIDTH),
        **_residual("output_blocks.1.0", 2 * WIDTH), "out.0": (WIDTH,), "out.2": (3, WIDTH, 3, 3),
    }  # fmt: skip
    weights = {f"{name}.weight": torch.zeros(shape, dtype=torch.half) for name, shape in shapes.items()}
    return weights | {f"{name}.bias": torch.zeros(shape[0], dtype=torch.half) for name, shape in shapes.items()}


def _residual(name: str, n_channels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a residual block of as many channels; one that narrows has a skip connection."""
    skip = {"skip_connection": (WIDTH, n_channels, 1, 1)} if n_channels > WIDTH else {}
    parts = {
        "in_layers.0": (n_channels,), "in_layers.2": (WIDTH, n_channels, 3, 3), "emb_layers.1": (WIDTH, 4 * WIDTH),
        "out_layers.0": (WIDTH,), "out_layers.3": (WIDTH, WIDTH, 3, 3), **skip,
    }  # fmt: skip
    return {f"{name}.{part}": shape for part, shape in parts.items()}
