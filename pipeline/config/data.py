"""Settings of `make-manifest`, `check-data` and `demo`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .validation import CommandConfig, Rule, Window, at_least, flag

IMAGE_SIZE = 256
"""Side in pixels to which whole images are resized for the UNet, if no other is asked for."""
LVIT_FOLDERS = {"Train_Folder": "train", "Val_Folder": "val", "Test_Folder": "test"}
MANIFESTS = ("manifest.csv", "manifest.xlsx")
SHARES = (0.7, 0.15, 0.15)
"""Of the groups that train, choose the epoch and test, where the folders do not say."""


def _are_shares(shares: tuple[float, ...]) -> bool:
    return min(shares) >= 0 and abs(sum(shares) - 1) < 1e-6


_Shares = Annotated[tuple[float, float, float], Rule("TRAIN,VAL,TEST of at least 0 that add up to 1", _are_shares)]


@dataclass(frozen=True)
class ManifestConfig(CommandConfig):
    """Settings of `make-manifest`."""

    images: Path
    """The folder of the images, or of everything: images, masks, tables. docs/manifests.md has the layouts."""
    out: Path = Path("data.csv")
    """The manifest to write (.csv). Masks that have to be drawn go into `masks/` beside it."""
    leave_out: str | None = None
    """Regular expression of files to leave out, looked for in their paths: 'lung masks' where there are masks of two
    kinds, '_(t1|t2)' where a patient has several images."""
    masks: Path | None = None
    """A folder of masks, where they lie apart from the images; or what an annotation tool exported: GeoJSON, COCO,
    Label Studio, CVAT."""
    texts: Path | None = None
    """A table of texts (CSV or XLSX), or a folder of them; without it, tables among the images."""
    text_columns: tuple[str, str] | None = None
    """The table's columns that name the image and hold its text, where they are not called Image and Description or
    the like."""
    split: _Shares | None = None
    """Shares of the groups (patients) that train, choose the epoch and test: 0.7,0.15,0.15, or the splits that folders
    name, which this replaces."""
    seed: int = 0
    """Seed of the division."""
    group_pattern: str | None = None
    """Regular expression of the patient in an image's path, such as 'TCGA-..-....'; the first parenthesis, where there
    is one, is the group. Empty: every file is a group of its own."""
    slices: Literal["all", "labelled"] = "all"
    """Slices of a volume that become samples: all, or those whose mask has a value above 0."""

    def contradictions(self) -> Iterator[str | None]:
        """A manifest that is no CSV, and patterns that are no regular expressions."""
        if self.out.suffix.lower() != ".csv":
            yield f"--out got {str(self.out)!r}; expected a name that ends in .csv"
        yield from (_no_pattern(name, getattr(self, name)) for name in ("leave_out", "group_pattern"))


def _no_pattern(field: str, pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        return f"{flag(field)} got {pattern!r}, no regular expression ({error})"
    return None


@dataclass(frozen=True)
class CheckConfig(CommandConfig):
    """Settings of `check-data`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    image_size: Annotated[int, at_least(8)] = IMAGE_SIZE
    """Side in pixels to which `extract-features` is to resize images, at which it would lose classes of the masks."""
    text_encoder: str | None = None
    """The text encoder to come, as for `extract-features`: counts tokens that it does not know."""
    out: Annotated[Path, Rule("a name that ends in .html", lambda path: path.suffix.lower() == ".html")] | None = None
    """A page (PAGE.html) with all findings, and samples with their masks and texts."""


@dataclass(frozen=True)
class DemoConfig(CommandConfig):
    """Settings of `demo`."""

    out: Path = Path("demo")
    """The folder for all results of the demo."""
