"""Shared inputs of the GPU list's items: sizes, models of random weights, images and caches, made when first used."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_type_hints

from diffusers import DDPMScheduler
from extract import QATA_BLOCKS, load_recorder, write_images
from random_encoders import save_text_encoder
from random_unets import adm_unet, small_unet
from record import NotHere

from textdiff import extract_features
from textdiff.components import UNetRecorder
from textdiff.config import ExtractConfig

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "bfloat16-weights"
"""The precision whose weights are bfloat16 too."""
PRECISIONS = tuple(name for name in get_args(get_type_hints(ExtractConfig)["precision"]) if name != "auto")
"""Those that this version has."""


@dataclass(frozen=True)
class Scale:
    """Sizes of the list."""

    image_size: int
    blocks: tuple[int, ...]
    timesteps: tuple[int, ...]
    batches: tuple[int, int, int]
    """Of an extraction: the usual, a large and the largest."""
    n_units: int
    """Work units of a timed extraction."""
    matrix: int
    """Side of the matrices whose product is the ceiling."""
    head: Mapping[str, int]
    """Settings of heads beside the defaults."""
    epochs: int
    """Of heads whose bytes and seconds are looked at."""
    ladder_epochs: int
    """Of heads whose Dice is."""
    channels: tuple[tuple[int, ...], ...]
    """UNets that may be pretrained, by their levels, the smallest first."""
    steps: int
    """Of a pretraining, at least, for a UNet to count as trained well."""
    tests: tuple[str, ...]
    """Arguments of pytest."""


FULL = Scale(
    image_size=256, blocks=QATA_BLOCKS, timesteps=(50, 150, 250), batches=(8, 32, 64), n_units=6, matrix=8192,
    head={}, epochs=4, ladder_epochs=20, steps=2000, tests=(),
    channels=((64, 128, 192, 256), (128, 256, 384, 512), (192, 384, 576, 768), (256, 512, 768, 1024)),
)  # fmt: skip
MINIATURE = Scale(
    image_size=32, blocks=(1, 3), timesteps=(50, 150), batches=(2, 3, 4), n_units=3, matrix=64,
    head={"width": 16, "n_attention_heads": 2}, epochs=2, ladder_epochs=1, steps=2,
    tests=("-k", "each_block and no-tf32"),
    channels=((8, 16), (16, 32)),
)  # fmt: skip


@dataclass
class Ground:
    """One machine's list in progress."""

    device: str
    scale: Scale
    images: Path
    """A manifest of labelled images."""
    work: Path
    """Folder for what is made on the way."""
    deadline_s: float
    """Of `time.monotonic`."""
    results: dict[str, Any] = field(default_factory=dict)
    """Of the items that are done."""

    @property
    def on_cuda(self) -> bool:
        """Whether the device is NVIDIA's."""
        return self.device.startswith("cuda")

    @property
    def in_miniature(self) -> bool:
        """Whether the list is only tried."""
        return self.scale is MINIATURE

    @property
    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline_s - time.monotonic()

    @cached_property
    def unet(self) -> str:
        """Source of the paper's UNet, of random weights; in miniature a small one."""
        size = self.scale.image_size
        model = small_unet(size, (32, 32)) if self.in_miniature else adm_unet(size)
        model.save_pretrained(self.work / "unet")
        DDPMScheduler().save_pretrained(self.work / "unet")
        return f"diffusers:{self.work / 'unet'}"

    @cached_property
    def text_encoder(self) -> str:
        """Source of a text encoder of random weights that knows the words of the images' texts."""
        return f"hf:{save_text_encoder(self.work / 'text-encoder', self.images, small=self.in_miniature)}"

    @cached_property
    def random_images(self) -> Path:
        """Folder of as many random images as the largest extraction reads, of twice the model's side."""
        n = self.scale.n_units * self.scale.batches[1]
        return write_images(self.work / "random", n, 2 * self.scale.image_size)

    def manifest(self, n: int) -> Path:
        """Manifest of the first `n` random images."""
        rows = (self.random_images / "manifest.csv").read_text(encoding="utf-8").splitlines()
        path = self.random_images / f"first{n}.csv"
        path.write_text("\n".join(rows[: n + 1]), encoding="utf-8")
        return path

    def extraction(self, name: str, n_images: int, batch_size: int, **settings: Any) -> ExtractConfig:  # noqa: ANN401
        """Settings that extract random images into a cache of this name, without filters."""
        config: dict[str, Any] = {"filters": False, "device": self.device, "batch_size": batch_size}
        sizes = {name: getattr(self.scale, name) for name in ("image_size", "blocks", "timesteps")}
        return ExtractConfig(
            self.manifest(n_images), self.work / name, unet=self.unet, **{**config, **sizes, **settings}
        )

    @cached_property
    def cache(self) -> Path:
        """Cache of the labelled images, with filters and texts."""
        config = self.extraction("labelled", 1, self.scale.batches[0], filters=True, text_encoder=self.text_encoder)
        extract_features(**{**vars(config), "data": self.images})
        return self.work / "labelled"

    def recorder(self, precision: Any, device: str | None = None, *, compiled: bool = False) -> UNetRecorder:  # noqa: ANN401
        """The UNet alone."""
        config = self.extraction("cache", 1, 1, device=device or self.device)
        return load_recorder(config, precision, compiled=compiled)

    def require_precision(self, name: str) -> None:
        """End the item if this version lacks the precision.

        Raises:
            NotHere: then.
        """
        if name not in PRECISIONS:
            raise NotHere(f"this version has no precision {name}, only {', '.join(PRECISIONS)}")


@contextmanager
def forward_replaced(replacement: Callable[..., object]) -> Iterator[None]:
    """Have another function in place of every UNet's `record`; it is given the true one, and the arguments."""
    record = UNetRecorder.record
    UNetRecorder.record = lambda *args, **named: replacement(record, *args, **named)  # type: ignore[method-assign]
    try:
        yield
    finally:
        UNetRecorder.record = record  # type: ignore[method-assign]


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, where it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
