"""Settings of `fit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from .presets import ImageKind
from .validation import CommandConfig, Window, at_least, between, repeated


@dataclass(frozen=True)
class FitConfig(CommandConfig):
    """Settings of `fit`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    out: Path
    """The folder for the cache (`cache/`), the trained head (`run/`) and the report; the same command goes on where it
    stopped."""
    unet: str | None = None
    """The frozen UNet, as for `extract-features`; without `--unet` and `--encoder`, the image encoder that an installed
    package carries (extra `encoders`), else a UNet that is pretrained on the training images."""
    encoder: tuple[str, ...] = repeated()
    """A frozen image encoder beside the UNet, or in its place, as for `extract-features`; repeat the flag for
    several."""
    text_encoder: str | None = None
    """The frozen text encoder, as for `extract-features`; `None`: where there are texts, the one that an installed
    package carries (extra `demo`), else texts are left out."""
    preset: ImageKind | None = None
    """Settings for one kind of images: size, colours, position (docs/tutorial.md#presets)."""
    image_size: Annotated[int, at_least(8)] | None = None
    """Side in pixels to which images are resized; `None`: the preset's, else the typical shorter side, at most 512 (256
    where there are more than 500 images)."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    minutes: Annotated[float, between(0.1, 1e5)] | None = None
    """Time for the whole, in minutes; `None`: as long as the defaults take. Pretraining and training are cut to it;
    checking, extraction and evaluation take as long as they do."""
    seed: int = 0
    """Seed of pretraining and training."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    offline: bool = False
    """Load models from this machine alone; hub ids name models that were fetched before."""

    # The state after an interrupt, for the command line's message.
    unfinished: ClassVar[str] = "finished work is kept: repeat the command to go on"
