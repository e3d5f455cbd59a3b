"""`convert-unet`: a checkpoint of OpenAI's guided-diffusion in, a diffusers folder with UNet and scheduler out."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...cache.storage.atomic import sync_folder, write_json
from ...errors import RunError
from ...stages.unet.guided.config import ADMConfig
from ...stages.unet.guided.convert import Converted, convert_checkpoint
from ...stages.unet.guided.published import published_name
from ..config.unets import ConvertConfig
from ..runtime.progress import Progress
from ..runtime.results import Result

RECORD = "conversion.json"


@dataclass(frozen=True)
class BlockShape:
    """Features of a decoder block."""

    channels: int
    """Channels of its activation."""
    shrinkage: int
    """Ratio of the image's side to the activation's."""


@dataclass(frozen=True)
class ConvertSummary(Result):
    """Result of `convert_unet`."""

    out: str
    """The diffusers folder."""
    recognised: str
    """The published model whose architecture and flags it has, or `own config`."""
    model_class: str
    """`UNet2DModel`, which diffusers itself loads, or `ADMUNet2DModel`, which only textdiff does."""
    n_parameters: int
    """Weights of the UNet."""
    image_size: int
    """Side in pixels of the images that it was trained on."""
    blocks: tuple[BlockShape, ...]
    """Decoder blocks by number, from the deepest."""
    heads: str
    """Attention heads, and the layout that their weights had."""
    n_classes: int | None
    """Classes that it is conditioned on; None where it is not."""
    noise_schedule: str
    """`linear` or `cosine`."""
    diffusion_steps: int
    """Timesteps of the schedule."""
    learns_sigma: bool
    """Whether the second half of its output interpolates the variance."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        classes = "unconditional" if self.n_classes is None else f"conditioned on {self.n_classes} classes"
        sides = [(block, self.image_size // block.shrinkage) for block in self.blocks]
        sigma = "learned" if self.learns_sigma else "fixed"
        return [
            f"{self.out}: {self.recognised}, {self.n_parameters / 1e6:.2f} M parameters, {classes}",
            f"{self.heads}; {self.noise_schedule} schedule of {self.diffusion_steps} steps, {sigma} variance",
            "decoder blocks (channels at resolution):",
            *(f"  {number:>2}  {block.channels} at {side}x{side}" for number, (block, side) in enumerate(sides)),
            *(
                []
                if self.model_class == "UNet2DModel"
                else [f"of class {self.model_class}: diffusers alone refuses it"]
            ),
            f"use it as --unet diffusers:{self.out}",
        ]


def convert_unet(config: ConvertConfig, progress: Progress | None = None) -> ConvertSummary:
    """Convert the checkpoint at `config.checkpoint` and save it at `config.out` for diffusers and `load_unet`.

    The folder appears whole or not at all. Beside the model it has `conversion.json`: the checkpoint's name and digest,
    and its flags.

    Raises:
        SourceError: the file is no such checkpoint, is incomplete, or needs its flags.
        ConfigError: the file of flags cannot be used.
        RunError: `config.out` is a file, or a folder that is not empty.
    """
    progress = progress or Progress()
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise RunError(f"{config.out} holds something already; give a folder that is empty or does not exist")
    progress.say(f"reading {config.checkpoint}")
    converted = convert_checkpoint(str(config.checkpoint), config.checkpoint, config.config)
    progress.say(f"writing {config.out}")
    _publish(converted, config)
    return _summary(converted, config.out)


def _publish(converted: Converted, config: ConvertConfig) -> None:
    """Save beside the folder, wait for the disk, and rename."""
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{config.out.name}-", dir=config.out.parent) as temporary:
        folder = Path(temporary) / "unet"
        converted.model.save_pretrained(folder)
        converted.scheduler.save_pretrained(folder)
        write_json(folder / RECORD, _record(converted, config.checkpoint))
        for path in folder.iterdir():
            shutil.copymode(folder / RECORD, path)  # safetensors lets nobody else read the weights
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(folder)
        folder.replace(config.out)
    sync_folder(config.out.parent)


def _record(converted: Converted, checkpoint: Path) -> dict[str, Any]:
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "checkpoint": {"name": checkpoint.name, "sha256": sha256},
        "flags": asdict(converted.config),
    }


def _summary(converted: Converted, out: Path) -> ConvertSummary:
    config = converted.config
    return ConvertSummary(
        out=str(out),
        recognised=published_name(config),
        model_class=type(converted.model).__name__,
        n_parameters=sum(parameter.numel() for parameter in converted.model.parameters()),
        image_size=config.image_size,
        blocks=tuple(BlockShape(*config.decoder_block(number)) for number in range(config.n_blocks)),
        heads=_heads(config),
        n_classes=config.n_classes if config.class_cond else None,
        noise_schedule=config.noise_schedule,
        diffusion_steps=config.diffusion_steps,
        learns_sigma=config.learn_sigma,
    )


def _heads(config: ADMConfig) -> str:
    order = "new attention order" if config.use_new_attention_order else "legacy attention order"
    if config.num_head_channels != -1:
        return f"attention heads of {config.num_head_channels} channels, {order}"
    upsample = config.num_heads_upsample
    decoder = "" if upsample in (-1, config.num_heads) else f" ({upsample} in the decoder)"
    return f"{config.num_heads} heads an attention{decoder}, {order}"
