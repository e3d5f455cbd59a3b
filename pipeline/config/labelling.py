"""Settings of `label` and `merge-labels`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from .validation import CommandConfig, Rule, Window, at_least, between, repeated

TextVariant = Literal["own", "none", "other"]
"""Text by which an image is predicted: its report, none, or another text that is tried."""
ExportKind = Literal["run", "masks"]
"""A trained run, or masks of all images by the newest run."""
_NAME = Annotated[
    str,
    Rule(
        "1 to 40 letters, digits, hyphens and underscores",
        lambda name: 0 < len(name) <= 40 and name.replace("-", "").replace("_", "").isalnum() and name.isascii(),
    ),
]


@dataclass(frozen=True)
class LabelConfig(CommandConfig):
    """Settings of `label`."""

    data: Path
    """Images to label: a folder of images, a manifest (CSV or XLSX), a folder in LViT's layout, or a cache of them."""
    out: Path = Path("labels")
    """The folder for strokes, masks, the manifest, and where DATA is no cache the cache; the same command goes on."""
    run: Path | None = None
    """A finished run to begin with, trained on features of the same models."""
    annotator: _NAME = "me"
    """Name of the one who draws; each has a log of their own in the folder."""
    unet: str | None = None
    """The frozen UNet of the features, as for `extract-features`; without `--unet` and `--encoder`, the image encoder
    that the extra `label` brings."""
    encoder: tuple[str, ...] = repeated()
    """A frozen image encoder beside the UNet, or in its place; repeat the flag for several."""
    text_encoder: str | None = None
    """The frozen text encoder; `None`: the one that the extra `label` brings."""
    image_size: Annotated[int, at_least(8)] | None = None
    """Side in pixels to which images or tiles are resized for the models; `None`: 512, or 256 of smaller images."""
    tile: Annotated[int, at_least(8)] | None = None
    """Cut images into squares of this many native pixels, as slides need it; `None`: take images whole."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    host: str = "127.0.0.1"
    """Address to listen at. Any other than this machine's own is open to the network, without encryption."""
    port: Annotated[int, between(0, 65535)] = 8765
    """Port to listen at; 0: any that is free."""
    browser: bool = True
    """Open the page in the browser; `--no-browser`: print its address alone."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    offline: bool = False
    """Load models from this machine alone; hub ids name models that were fetched before."""

    # The state after an interrupt, for the command line's message.
    unfinished: ClassVar[str] = "every stroke is kept: repeat the command to go on"


@dataclass(frozen=True)
class MergeLabelsConfig(CommandConfig):
    """Settings of `merge-labels`."""

    data: tuple[Path, ...]
    """Two or more data sets of the same images: folders of `label`, which hold a manifest.csv, or manifests."""
    out: Path | None = None
    """The folder for the merged data set; `None`: show the agreement alone."""

    def contradictions(self) -> Iterator[str | None]:
        """A single data set, or the same one twice."""
        if len(self.data) < 2:
            yield f"merge-labels got {len(self.data)} data set; expected at least two"
        elif len({path.resolve() for path in self.data}) < len(self.data):
            yield "merge-labels got the same data set twice; name each once"
