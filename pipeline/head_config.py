"""What each command on heads can be told: as `config.py`, for what trains, scores and applies them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .checks import below, not_among, not_distinct, not_divisible, outside, refuse

TextMode = Literal["true", "none", "shuffled"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `train-head`."""

    cache: Path
    """The feature cache to learn from."""
    run: Path
    """The folder for the trained head; must not hold another run."""
    head: Literal["pixel"] = "pixel"
    """The head's architecture."""
    timesteps: tuple[int, ...] | None = None
    """Which cached timesteps to use; `None`: all of them."""
    blocks: tuple[int, ...] | None = None
    """Which cached blocks to use; `None`: all of them."""
    text: TextMode = "true"
    """Each sample's own text, no text at all, or another sample's text (a control)."""
    n_labelled: int | None = None
    """Train on this many labelled groups, drawn with the seed; `None`: on all."""
    val_fraction: float = 0.2
    """Share of the training groups held out to choose the epoch, where the cache has no validation split."""
    hold_out: bool = False
    """Choose the epoch on held-out training groups even where a validation split exists, so that it stays unseen."""
    seed: int = 0
    """Seed of initial weights, sampled pixels, text dropout and every draw of samples."""
    epochs: int = 40
    """Passes over the training images; several at once where they are few."""
    images_per_step: int = 8
    """Images in one optimiser step."""
    pixels_per_image: int = 512
    """Pixels sampled from each image in one step."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW, after a short warm-up; it falls to zero along a cosine."""
    weight_decay: float = 2.0
    """AdamW's decoupled weight decay; strong, lest the head learn images by heart in place of their texts."""
    width: int = 128
    """Channels of the head."""
    n_heads: int = 8
    """Heads of the cross-attention."""
    text_dropout: float = 0.1
    """Chance that a training image is shown without its text, so that prediction without text works."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    resume: bool = False
    """Go on with a training that did not finish."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: with a line for each problem.
        """
        refuse(
            not_distinct("--timesteps", self.timesteps) if self.timesteps is not None else None,
            not_distinct("--blocks", self.blocks) if self.blocks is not None else None,
            not_among("--head", self.head, ("pixel",)),
            not_among("--text", self.text, ("true", "none", "shuffled")),
            below("--n-labelled", self.n_labelled, 1) if self.n_labelled is not None else None,
            outside("--val-fraction", self.val_fraction, 0.01, 0.9),
            below("--epochs", self.epochs, 1),
            below("--images-per-step", self.images_per_step, 1),
            below("--pixels-per-image", self.pixels_per_image, 1),
            outside("--learning-rate", self.learning_rate, 1e-8, 1.0),
            outside("--weight-decay", self.weight_decay, 0.0, 100.0),
            outside("--text-dropout", self.text_dropout, 0.0, 1.0),
            below("--width", self.width, 1),
            not_divisible("--width", self.width, "--n-heads", self.n_heads),
        )


@dataclass(frozen=True)
class AblateConfig:
    """Settings of `ablate-timesteps`."""

    cache: Path
    """The feature cache to compare on."""
    out: Path
    """The folder for the table (CSV, JSON) and the plot."""
    subsets: tuple[tuple[int, ...], ...] | None = None
    """Sets of timesteps to compare; `None`: each cached one alone, and all together."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One head is trained for each subset and seed."""
    blocks: tuple[int, ...] | None = None
    """Which cached blocks to use; `None`: all of them."""
    text: TextMode = "true"
    """As for `train-head`."""
    epochs: int = TrainConfig.epochs
    """As for `train-head`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: with a line for each problem.
        """
        refuse(
            *(not_distinct("--subsets", subset) for subset in self.subsets or ()),
            not_distinct("--seeds", self.seeds),
            below("--epochs", self.epochs, 1),
        )


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of `evaluate`."""

    run: Path
    """A finished run."""
    cache: Path
    """Features of the samples to score, made with the settings of the run's own cache."""
    split: Literal["train", "val", "test"] = "test"
    """Which samples to score."""
    at: Literal["model", "native"] = "model"
    """Compare at the size that the UNet sees, or bring probabilities to the images' own size and compare with the mask
    files. Tiles are put together to whole images of their own size either way; `model` needs no mask files for it."""
    text: TextMode | None = None
    """Which text the head is shown; `None`: as in training."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `predict`."""

    run: Path
    """A finished run."""
    images: Path
    """An image, or a folder of images."""
    out: Path
    """The folder for the masks, one NAME.png for each image, at the images' own size."""
    text: str | None = None
    """One text for all images."""
    texts: Path | None = None
    """A table (CSV or XLSX) with the columns Image and Description: a text for each image."""
    probabilities: bool = False
    """Also write NAME.npy: float16 [class, y, x]."""
    unet: str | None = None
    """Where the same UNet is to be found, if not where the run says; checked by its digest."""
    unet_config: Path | None = None
    """JSON with guided-diffusion's flags, if that UNet is a `guided-diffusion:` checkpoint that needs them."""
    text_encoder: str | None = None
    """Where the same text encoder is to be found, if not where the run says; checked by its digest."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: if texts are given in two ways.
        """
        both = self.text is not None and self.texts is not None
        refuse("--text and --texts were both given; give one of them" if both else None)
