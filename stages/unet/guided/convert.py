"""Checkpoints of OpenAI's guided-diffusion as frozen UNets of diffusers' parts: the same function to rounding.

file -> tensors (checkpoint) -> configuration (published, config) -> empty model (adm) -> its tensors (tensors)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusers import DDPMScheduler, UNet2DModel

from ....errors import SourceError
from .adm import empty_model
from .checkpoint import read_weights
from .config import ADMConfig
from .published import OWN, find_config, published_name
from .tensors import Shapes, convert_state, differences, expected_shapes


@dataclass(frozen=True, eq=False)
class Converted:
    """A checkpoint after conversion."""

    model: UNet2DModel
    """float32 on the CPU, in eval mode, without gradients."""
    scheduler: DDPMScheduler
    """The noise of its training."""
    config: ADMConfig
    """The configuration of both."""


def convert_checkpoint(source: str, path: Path, flags: Path | None) -> Converted:
    """Read a guided-diffusion checkpoint and convert it.

    A class-conditional model keeps its label embedding as `class_embedding`.

    Args:
        source: what the user gave, for messages.
        path: the checkpoint (`.pt`, `.pth` or `.safetensors`).
        flags: a JSON file of guided-diffusion's flags; None for a published model, recognised by its tensors.

    Raises:
        SourceError: the file is no such checkpoint, is incomplete, or needs its flags.
        ConfigError: `flags` cannot be used.
    """
    state = read_weights(source, path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    config = find_config(source, shapes, flags)
    model = empty_model(config)
    _refuse_differences(source, shapes, expected_shapes(model, config), published_name(config))
    model.load_state_dict(convert_state(state, model, config), assign=True)
    return Converted(model.eval().requires_grad_(False), noise_schedule(config), config)


def _refuse_differences(source: str, got: Shapes, expected: Shapes, name: str) -> None:
    lines = differences(got, expected)
    if lines:
        summary = (
            f"{source}: its tensors are not the {len(expected)} of {'its flags' if name == OWN else name}; fetch it "
            "again, or correct its flags (--config of convert-unet, --unet-config elsewhere):"
        )
        raise SourceError("\n  - ".join([summary, *lines]))


def noise_schedule(config: ADMConfig) -> DDPMScheduler:
    """The scheduler with guided-diffusion's betas (gaussian_diffusion.py): linear ones are scaled to the steps."""
    scale = 1000 / config.diffusion_steps
    return DDPMScheduler(
        num_train_timesteps=config.diffusion_steps,
        beta_schedule="squaredcos_cap_v2" if config.noise_schedule == "cosine" else "linear",
        beta_start=scale * 0.0001,
        beta_end=scale * 0.02,
        prediction_type="sample" if config.predict_xstart else "epsilon",
        variance_type="learned_range" if config.learn_sigma else "fixed_large",
    )
