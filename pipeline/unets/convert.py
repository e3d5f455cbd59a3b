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
from ...stages.unet.guided.convert import Converted, convert_checkpoint
from ..config.unets import ConvertConfig
from ..runtime.progress import Progress

RECORD = "conversion.json"


@dataclass(frozen=True)
class DecoderBlock:
    """A decoder block as features come out of it."""

    channels: int
    """Channels of its activation."""
    shrinkage: int
    """By how much its sides are smaller than the image's."""


@dataclass(frozen=True)
class ConvertSummary:
    """What `convert_unet` found and wrote."""

    out: str
    """The diffusers folder."""
    recognised: str
    """The published model whose architecture and flags it has, or `own config`."""
    model_class: str
    """`UNet2DModel`, which diffusers itself loads, or `ADMUNet2DModel`, which only textdiff does."""
    n_parameters: int
    """Weights of the UNet."""
    image_size: int | None
    """Side in pixels that it was trained at; None where nothing says so."""
    blocks: tuple[DecoderBlock, ...]
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
        sigma = "learned" if self.learns_sigma else "fixed"
        return [
            f"{self.out}: {self.recognised}, {self.n_parameters / 1e6:.2f} M parameters, {classes}",
            f"{self.heads}; {self.noise_schedule} schedule of {self.diffusion_steps} steps, {sigma} variance",
            "decoder blocks (channels at resolution):",
            *(f"  {number:>2}  {self._block(block)}" for number, block in enumerate(self.blocks)),
            *(
                []
                if self.model_class == "UNet2DModel"
                else [f"of class {self.model_class}: diffusers alone refuses it"]
            ),
            f"use it as --unet diffusers:{self.out}",
        ]

    def _block(self, block: DecoderBlock) -> str:
        if self.image_size is None:
            return f"{block.channels} at 1/{block.shrinkage}"
        side = self.image_size // block.shrinkage
        return f"{block.channels} at {side}x{side}"


def convert_unet(config: ConvertConfig, progress: Progress | None = None) -> ConvertSummary:
    """Convert the checkpoint at `config.checkpoint` and save it at `config.out` for diffusers and `load_unet`.

    The folder appears whole or not at all. Beside the model it has `conversion.json`: what it was made from, and how.

    Raises:
        SourceError: the file is no such checkpoint, is incomplete, or more has to be said about it.
        ConfigError: the file of flags cannot be used, or contradicts the checkpoint.
        RunError: something stands at `config.out`.
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
        "architecture": asdict(converted.architecture),
        "settings": asdict(converted.settings),
    }


def _summary(converted: Converted, out: Path) -> ConvertSummary:
    architecture, settings = converted.architecture, converted.settings
    return ConvertSummary(
        out=str(out),
        recognised=settings.name,
        model_class=type(converted.model).__name__,
        n_parameters=sum(parameter.numel() for parameter in converted.model.parameters()),
        image_size=settings.image_size,
        blocks=tuple(DecoderBlock(*architecture.decoder_block(number)) for number in range(architecture.n_blocks)),
        heads=_heads(converted),
        n_classes=architecture.n_classes,
        noise_schedule=settings.noise_schedule,
        diffusion_steps=settings.diffusion_steps,
        learns_sigma=architecture.learns_sigma,
    )


def _heads(converted: Converted) -> str:
    settings = converted.settings
    order = "new attention order" if settings.new_attention_order else "legacy attention order"
    if settings.head_channels is not None:
        return f"attention heads of {settings.head_channels} channels, {order}"
    decoder = "" if settings.n_heads_up == settings.n_heads else f" ({settings.n_heads_up} in the decoder)"
    return f"{settings.n_heads} heads an attention{decoder}, {order}"
