"""Image and mask files as arrays, and the two ways of resizing them: one for light, one for labels.

Images are RGB (never BGR), uint8, [y, x, 3]. Masks keep the values that stand in the file. Both are read whole and
strictly: a file that a lenient viewer would still show in part is an error here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from ..errors import ConfigError, DataError
from .decoding import Raster, UnusableImageError, decode

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
"""Lower case; a file's own suffix may be in any case."""

Window = tuple[int, int]
"""The intensities (lo, hi) of a 16 bit image that become 0 and 255."""


def read_image(path: Path, window: Window | None = None) -> UInt8[np.ndarray, "y x 3"]:
    """Read an image as RGB in 0..255.

    Grey is repeated on three channels, palettes are looked up, alpha is dropped (not blended). Values of more than 8
    bits go through `window`: lo..hi linearly to 0..255, rounded to nearest (halves up), clipped outside. Images of
    up to 8 bits ignore the window.

    Raises:
        DataError: The file is missing, truncated, of a kind that is not supported, or of 16 bits without a window.
        ConfigError: The window is empty (hi not above lo).
    """
    return decode_image(read_bytes(path), path, window)


def read_mask(path: Path) -> Integer[np.ndarray, "y x"]:
    """Read a mask's values as stored: grey levels, palette indices, 0 and 1 for one bit.

    An RGB file counts as grey where its three channels are equal. Alpha is dropped.

    Raises:
        DataError: The file is missing, truncated, of a kind that is not supported, or in colour.
    """
    return decode_mask(read_bytes(path), path)


def decode_image(data: bytes, path: Path, window: Window | None = None) -> UInt8[np.ndarray, "y x 3"]:
    """`read_image` for a file's content that is in memory already; `path` serves the messages alone."""
    if window is not None and window[1] <= window[0]:
        raise ConfigError(f"the intensity window {window} is empty: its second value must be above its first")
    try:
        return _as_rgb(decode(data), window)
    except UnusableImageError as reason:
        raise DataError(f"{path} {reason}") from reason


def decode_mask(data: bytes, path: Path) -> Integer[np.ndarray, "y x"]:
    """`read_mask` for a file's content that is in memory already; `path` serves the messages alone."""
    try:
        return _as_values(decode(data))
    except UnusableImageError as reason:
        raise DataError(f"{path} {reason}") from reason


def _as_rgb(raster: Raster, window: Window | None) -> UInt8[np.ndarray, "y x 3"]:
    if raster.palette is not None:
        return _look_up(raster.palette, raster.pixels)
    pixels = _to_8_bits(raster, window)
    if raster.white_is_zero:
        pixels = 255 - pixels
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(rgb)


def _look_up(palette: UInt8[np.ndarray, "n 3"], indices: Integer[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    if indices.size and indices.max() >= len(palette):
        raise UnusableImageError(f"uses palette index {indices.max()}, its palette ends at {len(palette) - 1}")
    colours: np.ndarray = palette[indices]
    return colours


def _to_8_bits(raster: Raster, window: Window | None) -> UInt8[np.ndarray, "y x *c"]:
    if raster.pixels.dtype == np.uint8:
        white = 2**raster.bits - 1
        return raster.pixels if white == 255 else (raster.pixels.astype(np.uint16) * 255 // white).astype(np.uint8)
    if raster.pixels.dtype not in (np.uint16, np.int16):
        raise UnusableImageError(f"holds {raster.pixels.dtype} values; save it as 8 or 16 bit integers")
    if window is None:
        raise UnusableImageError(
            f"holds {raster.bits} bit values ({raster.pixels.min()} to {raster.pixels.max()}); "
            "say with an intensity window (lo, hi) which of them become black and white"
        )
    lo, hi = window
    clipped = np.clip(raster.pixels.astype(np.int64), lo, hi)
    return ((2 * 255 * (clipped - lo) + (hi - lo)) // (2 * (hi - lo))).astype(np.uint8)


def _as_values(raster: Raster) -> Integer[np.ndarray, "y x"]:
    pixels = raster.pixels
    if pixels.ndim == 2:
        return pixels
    if not ((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()):
        raise UnusableImageError("is in colour; save the mask as grey or palette indices, one value a class")
    return np.ascontiguousarray(pixels[..., 0])


def resize_image(image: UInt8[np.ndarray, "y x 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "y2 x2 3"]:
    """Resize to `size` = (y, x) with Pillow's bilinear filter, which averages over the source when shrinking."""
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_labels(labels: UInt8[np.ndarray, "y x"], size: tuple[int, int]) -> UInt8[np.ndarray, "y2 x2"]:
    """Resize to `size` = (y, x) by nearest neighbour, so that no label is invented.

    Target pixel i takes the source pixel its centre falls into: floor((i + 1/2) · n_source / n_target), in integers.
    """
    rows, columns = (_nearest(n_source, n) for n_source, n in zip(labels.shape, size, strict=True))
    resized: np.ndarray = labels[np.ix_(rows, columns)]
    return resized


def _nearest(n_source: int, n_target: int) -> np.ndarray:
    return (2 * np.arange(n_target) + 1) * n_source // (2 * n_target)


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        DataError: It does not exist or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal: how a file's content is named in datasets and caches."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return digest(read_bytes(path))


def is_image(path: Path) -> bool:
    """Whether the name is an image's: a known suffix, and not hidden as macOS' `._` companions are."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(path: Path) -> list[Path]:
    """The image at `path`, or the images of the folder there, sorted by name; subfolders are not entered.

    Raises:
        DataError: Nothing is there, or nothing that is named as an image.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; expected an image or a folder of images")
    images = sorted(p for p in (path.iterdir() if path.is_dir() else [path]) if is_image(p))
    if not images:
        what = "holds no images" if path.is_dir() else "is not an image"
        raise DataError(f"{path} {what}; expected a name ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return images
