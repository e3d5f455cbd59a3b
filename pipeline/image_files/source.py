"""Protocol of an opened image, of which boxes are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

Box = tuple[int, int, int, int]
"""top, left, height and width of a region in pixels."""
Offset = tuple[int, int]
"""(y, x) of a tile's upper left pixel in the native image."""


@dataclass(frozen=True)
class LevelGrid:
    """Pixels of a level, measured in the image of full resolution and on the slide."""

    downsampling: tuple[float, float] = (1.0, 1.0)
    """Pixels of full resolution to one of the level, along y and x."""
    pixel_mm: tuple[float, float] | None = None
    """From one pixel's centre to the next, along y and x; `None`: the file does not say."""


class ImageReader(Protocol):
    """An image that can be read in parts."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
        """The pixels of a rectangle that lies in the image."""

    def boxes(self) -> Iterator[Box]:
        """Rectangles (top, left, height, width) that cover the image; reading them in turn decodes everything once."""
