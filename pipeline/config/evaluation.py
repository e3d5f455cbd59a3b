"""Settings of `evaluate`, `compare` and `suggest`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ...cache.storage.location import Location
from .training import TextMode
from .validation import CommandConfig, Count, ViewCount, between

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(CommandConfig):
    """Settings that `evaluate` and `compare` share."""

    split: SplitName = "test"
    """Split whose samples are scored."""
    at: Literal["model", "native"] = "model"
    """Compare at the size that the UNet sees, or bring probabilities to the images' own size and compare with the mask
    files. Tiles are put together to whole images of their own size either way; `model` needs no mask files for it.
    Runs whose UNets saw images at different sizes can only be compared at `native`."""
    tta: ViewCount = 1
    """Average over this many of the cached flips and rotations of each sample (test-time augmentation): 1, 2, 4 or 8.
    Other splits than `train` have them where the cache was made with `--views-of all`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""


@dataclass(frozen=True)
class EvaluateConfig(ScoringOptions):
    """Settings of `evaluate`."""

    run: Path
    """A finished run."""
    cache: Location
    """Features of the samples to score, made with the settings of the run's own cache."""
    text: TextMode | None = None
    """Text that the head is given; `None`: as in training."""
    surface: bool = False
    """Also measure the boundary distance: the 95 % Hausdorff distance (HD95) of each sample, in mm where every image
    file states the size of its pixels (DICOM, NIfTI), else in pixels of the size that is compared at. Needs
    more time and whole images in memory."""
    tolerance: Annotated[float, between(0, 1e6)] | None = None
    """Also measure the normalised surface Dice (NSD): the share of both boundaries that is at most this far from the
    other, in the unit of HD95, which the result names. Implies `--surface`."""
    instances: bool = False
    """Also compare instances: aggregated Jaccard index (AJI), panoptic quality (PQ) and its factors (DQ, SQ). Masks say
    which class a pixel has and not which instance, so that a watershed splits touching ones alike in both. Needs more
    time and whole images in memory."""
    words: bool = False
    """Show in the report what each word of a text did to the mask, for the sample with the lowest Dice. Loads the run's
    text encoder; `textdiff explain` does the same for any image."""
    offline: bool = False
    """With `--words`: load the text encoder from this machine alone, not from the hub."""

    @property
    def measures_surface(self) -> bool:
        """Whether boundary distances are asked for."""
        return self.surface or self.tolerance is not None


@dataclass(frozen=True)
class CompareConfig(ScoringOptions):
    """Settings of `compare`."""

    run_a: Path
    """A finished run."""
    run_b: Path
    """Another finished run, evaluated on the same samples."""
    cache: Location | None = None
    """Features of the samples to compare on; `None`: for each run the cache that it was trained on."""
    split: SplitName = field(default="val", kw_only=True)
    """Split whose samples are compared on."""


@dataclass(frozen=True)
class SuggestConfig(CommandConfig):
    """Settings of `suggest`."""

    cache: Location
    """Features of samples of which some are not labelled, made with the settings of the run's own cache."""
    run: Path
    """A finished run."""
    n: Count = 10
    """Number of samples to suggest."""
    split: SplitName = "train"
    """Split whose unlabelled samples are candidates."""
    out: Path | None = None
    """A folder for the table (`suggestions.csv`) and a figure of the samples with the head's masks
    (`suggestions.png`); `None`: neither."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
