"""An image to segment, from a file or from memory, with its text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import UInt8
from PIL.Image import Image as PillowImage

from ...errors import DataError
from ..image_files.source import Box, ImageReader

GivenImage = UInt8[np.ndarray, "y x 3"] | PillowImage | Path | str
"""RGB pixels as an array or as a Pillow image, or the path of an image file."""


@dataclass(frozen=True)
class PredictionRequest:
    """An image to segment."""

    image: ImageReader
    text: str | None = None
    """Text for the head; `None`: none."""
    sample_id: str = ""
    """Names the noise where the cache of the training has one noise for each sample."""


@dataclass(frozen=True)
class Pixels:
    """An image in memory.

    Raises:
        DataError: if the pixels are not uint8 [y, x, 3].
    """

    pixels: UInt8[np.ndarray, "y x 3"]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
            raise DataError(f"image is {self.pixels.dtype} {shape}; expected uint8 (y, x, 3), RGB")

    @classmethod
    def of(cls, image: UInt8[np.ndarray, "y x 3"] | PillowImage) -> Self:
        """An array, or a Pillow image of any mode, which is brought to RGB."""
        return cls(image if isinstance(image, np.ndarray) else np.asarray(image.convert("RGB")))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def boxes(self) -> Iterator[Box]:
        """The whole of it."""
        yield 0, 0, *self.size

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
        """A rectangle of it."""
        return self.pixels[top : top + height, left : left + width]
