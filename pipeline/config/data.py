"""Settings of `check-data` and `demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .validation import CommandConfig, Window

LVIT_FOLDERS = {"Train_Folder": "train", "Val_Folder": "val", "Test_Folder": "test"}


MANIFESTS = ("manifest.csv", "manifest.xlsx")


@dataclass(frozen=True)
class CheckConfig(CommandConfig):
    """Settings of `check-data`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""


@dataclass(frozen=True)
class DemoConfig(CommandConfig):
    """Settings of `demo`."""

    out: Path = Path("demo")
    """The folder for all results of the demo."""
