"""Settings of `evaluate`, `compare` and `suggest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...cache.storage.location import Location
from ..views.symmetries import bad_view_count
from .training import TextMode
from .validation import below, refuse


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of `evaluate`."""

    run: Path
    """A finished run."""
    cache: Location
    """Features of the samples to score, made with the settings of the run's own cache."""
    split: Literal["train", "val", "test"] = "test"
    """Which samples to score."""
    at: Literal["model", "native"] = "model"
    """Compare at the size that the UNet sees, or bring probabilities to the images' own size and compare with the mask
    files. Tiles are put together to whole images of their own size either way; `model` needs no mask files for it."""
    text: TextMode | None = None
    """Which text the head is shown; `None`: as in training."""
    surface: bool = False
    """Also measure how far outlines are apart: the 95 % Hausdorff distance of each sample, in pixels of the size that
    is compared at. Needs more time and whole images in memory."""
    instances: bool = False
    """Also compare objects: aggregated Jaccard index (AJI) and panoptic quality (PQ). Masks say which class a pixel is
    and not which object, so that touching objects are split alike in both, by a watershed. Needs more time and whole
    images in memory."""
    tta: int = 1
    """Average over this many of the cached flips and rotations of each sample: 1, 2, 4 or 8. Other splits than `train`
    have them where the cache was made with `--views-of all`."""
    words: bool = False
    """Show in the report what each word of a text did to the mask, for the sample with the lowest Dice. Loads the run's
    text encoder; `textdiff explain` does the same for any image."""
    offline: bool = False
    """With `--words`: load the text encoder from this machine alone, not from the hub."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse what is no number of views.

        Raises:
            ConfigError: as said.
        """
        refuse(bad_view_count("--tta", self.tta))


@dataclass(frozen=True)
class CompareConfig:
    """Settings of `compare`."""

    run_a: Path
    """A finished run."""
    run_b: Path
    """Another finished run, evaluated on the same samples."""
    cache: Location | None = None
    """Features of the samples to compare on; `None`: for each run the cache that it was trained on."""
    split: Literal["train", "val", "test"] = "val"
    """Which samples to compare on."""
    at: Literal["model", "native"] = "model"
    """As for `evaluate`; runs whose UNets saw images at different sizes can only be compared at `native`."""
    tta: int = 1
    """As for `evaluate`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse what is no number of views.

        Raises:
            ConfigError: as said.
        """
        refuse(bad_view_count("--tta", self.tta))


@dataclass(frozen=True)
class SuggestConfig:
    """Settings of `suggest`."""

    cache: Location
    """Features of samples of which some are not labelled, made with the settings of the run's own cache."""
    run: Path
    """A finished run."""
    n: int = 10
    """How many samples to suggest."""
    split: Literal["train", "val", "test"] = "train"
    """Which unlabelled samples to choose from."""
    out: Path | None = None
    """A folder for the table (`suggestions.csv`) and a picture of the samples with what the head makes of them
    (`suggestions.png`); `None`: neither."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse to suggest nothing.

        Raises:
            ConfigError: as said.
        """
        refuse(below("--n", self.n, 1))
