"""Settings of `pretrain-unet` and `convert-unet`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .validation import CommandConfig, Count, Rule, TrainingPrecision, Window, between, multiple_of

_Width = Annotated[int, multiple_of(8, "the 8 groups of its normalisation,")]


@dataclass(frozen=True)
class PretrainConfig(CommandConfig):
    """Settings of `pretrain-unet`."""

    images: Path
    """A folder of unlabelled images; of a folder in LViT's layout or a manifest, the training images alone."""
    out: Path
    """The diffusers folder to write (UNet and scheduler)."""
    image_size: int = 256
    """Side in pixels to which images are resized before cropping: the size at which features will be extracted."""
    crop: int = 32
    """Side in pixels of the random crops; small crops leave time for a wide UNet, which is worth more (measured)."""
    steps: Count = 500
    """Optimiser steps."""
    batch_size: Count = 8
    """Crops in one step."""
    channels: Annotated[tuple[_Width, ...], Rule("a number of channels for each level", bool)] = (32, 64, 96, 128)
    """Channels of each level, from full resolution down; each level halves the resolution."""
    layers: Count = 1
    """Residual blocks in each level of the encoder (the decoder has one more)."""
    learning_rate: Annotated[float, between(1e-8, 1.0)] = 2e-3
    """Peak learning rate of AdamW, after a short warm-up; it falls to zero along a cosine."""
    ema_decay: Annotated[float, between(0.0, 0.99999)] = 0.99
    """Decay of the averaged weights, which are the ones saved."""
    save_every: Count = 100
    """Steps between two checkpoints."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    colours: Literal["own", "standardised"] = "own"
    """Stain (colour) normalisation. `standardised`: each image's channels are brought to one mean and spread; give
    `extract-features` the same."""
    seed: int = 0
    """Seed of initial weights, crops and noise."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: TrainingPrecision = "auto"
    """Arithmetic of the UNet; `auto`: that of the training which is resumed; of a new one bfloat16 where the device
    computes it natively, float32 elsewhere."""
    resume: bool = False
    """Continue a training that did not finish."""

    def contradictions(self) -> Iterator[str | None]:
        """Sizes that the levels cannot halve."""
        scale = 2 ** max(len(self.channels) - 1, 0)
        halved = multiple_of(scale, f"what {len(self.channels)} levels need,")
        yield halved.problem("image_size", self.image_size)
        yield halved.problem("crop", self.crop)
        yield between(scale, self.image_size).problem("crop", self.crop)


@dataclass(frozen=True)
class ConvertConfig(CommandConfig):
    """Settings of `convert-unet`."""

    checkpoint: Path
    """A UNet of OpenAI's guided-diffusion (.pt, .pth or .safetensors)."""
    out: Path
    """The diffusers folder to write (UNet and scheduler)."""
    config: Path | None = None
    """A JSON file of guided-diffusion's flags; published models need none."""
