"""Settings of `check-data` and `demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .validation import CommandConfig, Rule, Window, at_least

IMAGE_SIZE = 256
"""Side in pixels to which whole images are resized for the UNet, if no other is asked for."""
LVIT_FOLDERS = {"Train_Folder": "train", "Val_Folder": "val", "Test_Folder": "test"}


MANIFESTS = ("manifest.csv", "manifest.xlsx")


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
