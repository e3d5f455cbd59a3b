"""Prediction of one image: mask, probabilities and uncertainty; it can be looked at, and written as a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt, UInt8

from ...errors import ConfigError, DataError
from ..exchange.objects import write_label_image
from ..exchange.outputs import MaskBand, OutputFormat, OutputTarget
from ..image_files.volumes import Volume
from ..images.stain import in_own_colours
from ..reports.overlays import draw_overlay
from ..reports.plots import Plot
from ..runtime.results import Result
from .arrays import ProbabilityArray
from .formats import FORMATS, opened
from .request import PredictionRequest

TIFF = (".tif", ".tiff")
FORMAT_OF: Mapping[str, OutputFormat] = {
    ".png": FORMATS["png"],
    ".geojson": FORMATS["geojson"],
    ".ome.zarr": FORMATS["ome-zarr"],
    ".npy": OutputFormat((".npy",), ProbabilityArray),
}
"""How `Prediction.save` writes a file of a suffix; TIFF is written at once."""


@dataclass(frozen=True)
class _NamedFile(OutputTarget):
    """A target of which the only file has a name of the user's, whose suffix may be in capitals."""

    path: Path

    def file(self, suffix: str) -> Path:
        """The file."""
        return self.path


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """The segmentation of one image, at its own size.

    A notebook shows the figure of `show()`, and the classes below it.
    """

    mask: UInt[np.ndarray, "y x"]
    """The value of the likeliest class, as the training masks have it; uint8, or uint16 where values need it."""
    probabilities: Float32[np.ndarray, "n_classes y x"]
    """Of the classes, background first; they add up to 1. Of an ensemble the mean over its members."""
    uncertainty: Float32[np.ndarray, "y x"]
    """In nats, in [0, ln n_classes]: of an ensemble the mutual information of prediction and member, of a single head
    the predictive entropy."""
    classes: Mapping[int, str]
    """Value in the mask → name of the class, background first."""
    request: PredictionRequest = field(repr=False)
    """The image and its text."""

    @property
    def image(self) -> UInt8[np.ndarray, "y x 3"]:
        """The image in its own colours; of a large TIFF or slide it is read anew."""
        return in_own_colours(self.request.image).read(0, 0, *self.mask.shape)

    @property
    def labels(self) -> UInt8[np.ndarray, "y x"]:
        """Index of each pixel's likeliest class, 0 the background."""
        return self.probabilities.argmax(0).astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """The text, the size and the classes, ready for JSON; masks and maps are arrays of the object alone."""
        return {"text": self.request.text, "size": list(self.mask.shape), "classes": self.to_rows()}

    def lines(self) -> list[str]:
        """The size, and the share of each class."""
        height, width = self.mask.shape
        shares = ", ".join(f"{row['class']} {row['share']:.1%}" for row in self.to_rows())
        return [f"{height} × {width} pixels: {shares}"]

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each class: `class`, its `value` in the mask, its `pixels` and its `share` of the image."""
        counts = {value: int((self.mask == value).sum()) for value in self.classes}
        return [
            {"class": name, "value": value, "pixels": counts[value], "share": counts[value] / self.mask.size}
            for value, name in self.classes.items()
        ]

    def show(self) -> Plot:
        """The image with the mask's classes tinted and outlined, and a legend; large images are shrunk."""
        _, *foreground = self.classes.values()
        return draw_overlay(self.image, self.labels, foreground, title=self.request.text or "")

    def save(self, path: os.PathLike[str] | str) -> None:
        """Write a file, whole or not at all, in the format of its suffix; an existing one is replaced.

        Args:
            path: `.png` or `.tif`, the mask's values; `.geojson`, outlines of connected areas; `.ome.zarr`, labels;
                `.npy`, the probabilities, float16 [class, y, x]. Its folder is made where there is none.

        Raises:
            ConfigError: if the suffix is another.
            DataError: if the format cannot hold the mask.
        """
        path = Path(path)
        suffix = next((suffix for suffix in (*FORMAT_OF, *TIFF) if path.name.lower().endswith(suffix)), None)
        if suffix is None:
            expected = ", ".join([*FORMAT_OF, *TIFF])
            raise ConfigError(f"{path}: a prediction is written as one of {expected}; `predict` writes other formats")
        volume = Volume(path, path.name[: -len(suffix)], (path,))
        written = FORMAT_OF.get(suffix)
        if written and (reason := written.refusal(volume) or written.size_refusal(volume, self.mask.shape)):
            raise DataError(reason)
        path.parent.mkdir(parents=True, exist_ok=True)
        if written is None:
            write_label_image(path, self.mask)
            return
        target = _NamedFile(path.parent, volume, self.mask.shape, self.classes, self.mask.dtype, path)
        with opened([written], target) as (writer,):
            writer.add(MaskBand(0, 0, self.mask, self.probabilities.max(0), self.probabilities, self.uncertainty))

    def _repr_html_(self) -> str:
        return self.show().to_html(f"Mask: {self.lines()[0]}") + super()._repr_html_()
