"""Settings of `pretrain-unet` and `convert-unet`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .validation import bad_window, below, not_among, not_divisible, outside, refuse


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of `pretrain-unet`."""

    images: Path
    """A folder of unlabelled images; of a folder in LViT's layout or a manifest, the training images alone."""
    out: Path
    """The diffusers folder to write (UNet and scheduler)."""
    image_size: int = 256
    """Side in pixels to which images are resized before cropping: the size at which features will be extracted."""
    crop: int = 32
    """Side in pixels of the random crops; small ones leave time for a wide UNet, which is worth more (measured)."""
    steps: int = 500
    """Optimiser steps."""
    batch_size: int = 8
    """Crops in one step."""
    channels: tuple[int, ...] = (32, 64, 96, 128)
    """Channels of each level, from full resolution down; each level halves the resolution."""
    layers: int = 1
    """Residual blocks in each level of the encoder (the decoder has one more)."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW, after a short warm-up; it falls to zero along a cosine."""
    ema_decay: float = 0.99
    """Decay of the averaged weights, which are the ones saved."""
    save_every: int = 100
    """Steps between two checkpoints."""
    window: tuple[int, int] | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    colours: Literal["own", "standardised"] = "own"
    """`standardised`: each image's channels are brought to one mean and spread, as `extract-features` can do, which
    must then be told the same."""
    seed: int = 0
    """Seed of initial weights, crops and noise."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    resume: bool = False
    """Go on with a training that did not finish."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: with a line for each problem.
        """
        scale, levels = 2 ** max(len(self.channels) - 1, 0), f"what {len(self.channels)} levels need,"
        refuse(
            "--channels got nothing; expected a number of channels for each level" if not self.channels else None,
            *(not_divisible("--channels", width, "the 8 groups of its normalisation,", 8) for width in self.channels),
            below("--layers", self.layers, 1),
            below("--steps", self.steps, 1),
            below("--batch-size", self.batch_size, 1),
            below("--save-every", self.save_every, 1),
            not_divisible("--image-size", self.image_size, levels, scale),
            outside("--crop", self.crop, scale, self.image_size),
            not_divisible("--crop", self.crop, levels, scale),
            outside("--learning-rate", self.learning_rate, 1e-8, 1.0),
            outside("--ema-decay", self.ema_decay, 0.0, 0.99999),
            bad_window(self.window),
            not_among("--colours", self.colours, ("own", "standardised")),
        )


@dataclass(frozen=True)
class ConvertConfig:
    """Settings of `convert-unet`."""

    checkpoint: Path
    """A UNet of OpenAI's guided-diffusion (.pt, .pth or .safetensors)."""
    out: Path
    """The diffusers folder to write (UNet and scheduler)."""
    config: Path | None = None
    """A JSON file of guided-diffusion's flags; published models need none."""
