"""An image to segment, from a file or from memory, with its text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Real, UInt8
from PIL.Image import Image as PillowImage

from ...errors import DataError
from ..image_files.intensities import IntensityWindow, as_rgb
from ..image_files.raster import (
    ORIENTATION,
    Raster,
    UnusableImageError,
    WindowNeededError,
    broken_bytes,
    check_size,
    check_upright,
    split_alpha,
)
from ..image_files.source import Box, ImageReader

GivenImage = Real[np.ndarray, "y x *channel"] | PillowImage | os.PathLike[str] | str
"""Pixels, RGB [y, x, 3] or grey [y, x], as an array or as a Pillow image, or the path of an image file."""
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_MODES = ("1", "L", "P", "RGB", "RGBX", "LA", "PA", "RGBA", "RGBa")


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
    """RGB."""

    @classmethod
    def of(cls, image: object, window: IntensityWindow | None = None) -> Self:
        """An array or a Pillow image as RGB, by the rules of files (`open_image`).

        Grey is repeated on three channels, palettes are looked up, transparent parts are blended over white. Values of
        more than 8 bits go through the window.

        Args:
            image: array [y, x, 3] or [y, x] of whole numbers or floats, or a Pillow image. Pillow itself cuts RGB files
                of 16 bits to 8; read by their path they keep them.
            window: `None`: there is none.

        Raises:
            DataError: if the image is of another type, shape or mode, has no pixels, cannot be decoded, is stored
                turned, or needs a window and has none.
        """
        try:
            return cls(as_rgb(_raster_of(image), window))
        except WindowNeededError as reason:
            raise DataError(f"image {reason.values}; expected 8 bits: convert it to uint8") from reason
        except UnusableImageError as reason:
            raise DataError(f"image {reason}") from reason

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


def _raster_of(image: object) -> Raster:
    if isinstance(image, PillowImage):
        with broken_bytes():
            return _decoded(image)
    if not isinstance(image, np.ndarray):
        raise UnusableImageError(
            f"is of type {type(image).__name__}; expected an array, a Pillow image or the path of a file"
        )
    if image.dtype.kind not in "uif" or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
        raise UnusableImageError(f"is {image.dtype} {image.shape}; expected uint8 (y, x, 3), RGB, or (y, x), grey")
    return Raster(image, 8 * image.dtype.itemsize)


def _decoded(image: PillowImage) -> Raster:
    """A Pillow image, which may be a file that has not been decoded yet."""
    check_size(image.height, image.width)
    if "exif" in image.info:
        check_upright(image.getexif().get(ORIENTATION, 1))
    if image.mode not in (*_MODES, *_DEEP_MODES):
        raise UnusableImageError(f"has Pillow's mode {image.mode}; convert it to RGB")
    if image.mode in _DEEP_MODES:
        return _raster_of(np.asarray(image))
    if image.has_transparency_data:
        colours, alpha = split_alpha(np.asarray(image.convert("RGBA")))
        return Raster(colours, 8, alpha=alpha)
    return Raster(np.asarray(image.convert("RGB")), 8)
