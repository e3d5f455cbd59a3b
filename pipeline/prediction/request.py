"""An image to segment, from a file or from memory, with its text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ...errors import DataError
from ..image_files.source import Box, ImageReader


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
    """An image in memory."""

    pixels: UInt8[np.ndarray, "y x 3"]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
            raise DataError(f"image is {self.pixels.dtype} {shape}; expected uint8 (y, x, 3), RGB")

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
