"""Protocol of an opened image, of which boxes are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

Box = tuple[int, int, int, int]
"""top, left, height and width of a region in pixels."""
Offset = tuple[int, int]
"""(y, x) of a tile's upper left pixel in the native image."""


class ImageReader(Protocol):
    """An image that can be read in parts."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
        """The pixels of a rectangle that lies in the image."""

    def boxes(self) -> Iterator[Box]:
        """Rectangles (top, left, height, width) that cover the image; reading them in turn decodes everything once."""
