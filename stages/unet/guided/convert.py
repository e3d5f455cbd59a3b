"""Checkpoints of OpenAI's guided-diffusion as frozen UNets of diffusers' parts: the same function to rounding.

    file -> tensors (guided_checkpoint) -> architecture (guided_architecture) -> what it does not tell (guided_settings)
         -> an empty model -> its tensors (guided_tensors)

diffusers' own `UNet2DModel` is used where it can hold the model, and `ADMUNet2DModel` where it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel

from .adm import PREFIX, ADMUNet2DModel
from .architecture import N_GROUPS, Architecture, infer_architecture
from .checkpoint import read_state
from .settings import Settings, settle
from .tensors import convert_state


@dataclass(frozen=True, eq=False)
class Converted:
    """A checkpoint after conversion."""

    model: UNet2DModel
    """float32 on the CPU, in eval mode, without gradients."""
    scheduler: DDPMScheduler
    """The noise that it was trained on."""
    architecture: Architecture
    """What its tensors told."""
    settings: Settings
    """What they did not."""


def convert_checkpoint(source: str, path: Path, config: Path | None) -> Converted:
    """Read a guided-diffusion checkpoint and convert it, with all that was found out about it.

    A class-conditional model keeps its label embedding as `class_embedding`.

    Args:
        source: what the user gave, for messages.
        path: the checkpoint (`.pt`, `.pth` or `.safetensors`).
        config: a JSON file of guided-diffusion's flags; None for a published model, recognised by its shapes.

    Raises:
        SourceError: the file is no such checkpoint, is incomplete, or more has to be said about it.
        ConfigError: `config` cannot be used, or contradicts the checkpoint.
    """
    state = read_state(source, path)
    architecture = infer_architecture(source, {name: tuple(tensor.shape) for name, tensor in state.items()})
    settings = settle(source, architecture, config)
    model = empty_model(architecture, settings)
    tensors = convert_state(source, state, model, architecture, new_order=settings.new_attention_order)
    model.load_state_dict(tensors, assign=True)
    return Converted(model.eval().requires_grad_(False), noise_schedule(architecture, settings), architecture, settings)


def empty_model(architecture: Architecture, settings: Settings) -> UNet2DModel:
    """A UNet of this architecture whose tensors are on the meta device: names and shapes without numbers."""
    head_widths = _head_widths(architecture, settings)
    distinct = {width for width in head_widths if width is not None}
    is_plain = (
        len(distinct) == 1
        and architecture.model_channels == architecture.widths[0]
        and architecture.resampling != "none"
    )
    with torch.device("meta"):
        if is_plain:
            return UNet2DModel(**_common(architecture, settings, ""), attention_head_dim=distinct.pop())
        return ADMUNet2DModel(**_common(architecture, settings, PREFIX), attention_head_dim=head_widths)


def _head_widths(architecture: Architecture, settings: Settings) -> tuple[int | None, ...]:
    """For each level of the encoder, the middle, and each level of the decoder."""
    levels = list(zip(architecture.widths, architecture.attention, strict=True))
    down = [settings.head_width(width) if attends else None for width, attends in levels]
    up = [settings.head_width(width, decoder=True) if attends else None for width, attends in reversed(levels)]
    return (*down, settings.head_width(architecture.widths[-1]), *up)


def _common(architecture: Architecture, settings: Settings, prefix: str) -> dict[str, Any]:
    """Settings that both classes share."""
    by_resnet = architecture.resampling == "resnet"
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if by_resnet else ("DownBlock2D", "UpBlock2D")
    down = tuple(prefix + ("AttnDownBlock2D" if attends else plain[0]) for attends in architecture.attention)
    up = tuple(prefix + ("AttnUpBlock2D" if attends else plain[1]) for attends in reversed(architecture.attention))
    return {
        "sample_size": settings.image_size,
        "in_channels": architecture.in_channels,
        "out_channels": architecture.out_channels,
        "time_embedding_dim": 4 * architecture.model_channels,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": architecture.widths,
        "layers_per_block": architecture.n_res_blocks,
        "downsample_type": architecture.resampling,
        "upsample_type": architecture.resampling,
        "norm_num_groups": N_GROUPS,
        "attn_norm_num_groups": N_GROUPS,
        "resnet_time_scale_shift": "scale_shift" if architecture.scale_shift else "default",
        "num_class_embeds": architecture.n_classes,
    }


def noise_schedule(architecture: Architecture, settings: Settings) -> DDPMScheduler:
    """The scheduler with guided-diffusion's betas (gaussian_diffusion.py): linear ones are scaled to the steps."""
    scale = 1000 / settings.diffusion_steps
    return DDPMScheduler(
        num_train_timesteps=settings.diffusion_steps,
        beta_schedule="squaredcos_cap_v2" if settings.noise_schedule == "cosine" else "linear",
        beta_start=scale * 0.0001,
        beta_end=scale * 0.02,
        prediction_type="sample" if settings.predicts_image else "epsilon",
        variance_type="learned_range" if architecture.learns_sigma else "fixed_large",
    )
