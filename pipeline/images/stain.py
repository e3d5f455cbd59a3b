"""Every image's colours at one mean and one spread, so that slides differ less by stain and scanner.

Each channel of an image is shifted and stretched by itself, by statistics of the whole image, however little of it is
read at a time: Reinhard's transfer (2001, IEEE CG&A 21(5)) onto one fixed target, in RGB rather than in lab.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from ..image_files.intensities import IntensityWindow
from ..image_files.reading import open_image
from ..image_files.source import Box, ImageReader

MEAN, SPREAD = 128.0, 40.0
"""Mean and standard deviation of each channel after the transfer: 0 and 255 are then 3.2 deviations away."""
MIN_STD = 1.0
"""Channels that vary by less than one step of 255 are shifted, not stretched."""
PIXELS_AT_ONCE = 1 << 22


class NormalisedImage:
    """An image that is read with standardised colours.

    Args:
        image: read through once for its statistics, box by box, when pixels are first asked for.
    """

    def __init__(self, image: ImageReader) -> None:
        self.original = image

    @cached_property
    def _table(self) -> UInt8[np.ndarray, "3 256"]:
        return lookup_table(_histogram(self.original))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.original.size

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
        """The pixels of a rectangle that lies in the image."""
        pixels = self.original.read(top, left, height, width)
        return np.stack([self._table[channel][pixels[..., channel]] for channel in range(3)], -1)

    def boxes(self) -> Iterator[Box]:
        """Rectangles that cover the image."""
        return self.original.boxes()


def open_source(path: Path, window: IntensityWindow | None, colours: str) -> ImageReader:
    """Open an image file for a UNet: `open_image`, then `in_colours`.

    Raises:
        DataError: if it cannot be read.
    """
    return in_colours(open_image(path, window), colours)


def in_colours(image: ImageReader, colours: str) -> ImageReader:
    """The image as it is (`own`), or with `standardised` colours."""
    return NormalisedImage(image) if colours == "standardised" else image


def in_own_colours(image: ImageReader) -> ImageReader:
    """The image that `in_colours` was given."""
    return image.original if isinstance(image, NormalisedImage) else image


def lookup_table(histogram: Int[np.ndarray, "3 256"]) -> UInt8[np.ndarray, "3 256"]:
    """New value of each value of each channel, rounded to nearest and clipped to 0..255.

    Args:
        histogram: how many pixels have each value; at least one pixel.
    """
    values = np.arange(256.0)
    share = histogram / histogram.sum(1, keepdims=True)
    mean: Float[np.ndarray, "3 1"] = (share * values).sum(1, keepdims=True)
    spread = np.sqrt((share * (values - mean) ** 2).sum(1, keepdims=True))
    scaled = (values - mean) / np.where(spread < MIN_STD, SPREAD, spread) * SPREAD + MEAN
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _histogram(image: ImageReader) -> Int[np.ndarray, "3 256"]:
    counts = np.zeros((3, 256), np.int64)
    for box in image.boxes():
        pixels = image.read(*box).reshape(-1, 3)
        for start in range(0, len(pixels), PIXELS_AT_ONCE):  # each value becomes eight bytes on its way
            for channel, values in enumerate(pixels[start : start + PIXELS_AT_ONCE].T):
                counts[channel] += np.bincount(values, minlength=256)
    return counts
