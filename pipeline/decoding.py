"""Bytes of a PNG, JPEG or TIFF file into the numbers that stand in it, or a reason why not.

Nothing is guessed or repaired: a truncated file, a stack, ink values or a picture that is stored lying on its side
is refused. The content decides the format, never the suffix. The decoders are called without Pillow's `Image.open`,
whose check against decompression bombs is a warning, which threads cannot turn into an error safely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Integer, UInt8
from PIL import JpegImagePlugin, PngImagePlugin
from PIL.ImageFile import ImageFile

MAX_PIXELS = 200_000_000  # 600 MB as RGB; whole slides are to be cut into fields first
_ORIENTATION = 0x0112
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # where the header, always the first chunk, holds bit depth and colour type
_PNG_GREY, _PNG_PALETTE = 0, 3


class UnusableImageError(Exception):
    """The file cannot be used; the text goes after the file's name: "is truncated", "holds 3 pages; ..."."""


@dataclass(frozen=True)
class Raster:
    """What an image file holds, before it is read as an image or as a mask."""

    pixels: Integer[np.ndarray, "y x"] | Integer[np.ndarray, "y x 3"]
    """Stored values: grey levels, palette indices or RGB; alpha is dropped already."""
    bits: int
    """Of one stored value: 1, 2, 4, 8, 12, 16 or 32."""
    palette: UInt8[np.ndarray, "n 3"] | None = None
    """RGB of every palette index; None where values are grey levels or colours themselves."""
    white_is_zero: bool = False
    """True where the largest grey level is shown black (TIFF's MINISWHITE)."""


def decode(data: bytes) -> Raster:
    """Decode a whole image file.

    Raises:
        UnusableImageError: The bytes are no PNG, JPEG or TIFF, broken, or of a kind that is not supported.
    """
    decoder = next((decoder for magic, decoder in _DECODERS.items() if data.startswith(magic)), None)
    if decoder is None:
        raise UnusableImageError("is empty" if not data else f"is not a PNG, JPEG or TIFF file (begins {data[:8]!r})")
    try:
        return decoder(data)
    except (UnusableImageError, MemoryError):
        raise
    except Exception as error:  # broken bytes make the decoders raise nearly anything
        raise UnusableImageError(f"is truncated or broken ({type(error).__name__}: {error})") from error


def _decode_png(data: bytes) -> Raster:
    image = PngImagePlugin.PngImageFile(BytesIO(data))
    _refuse_odd(image)
    depth, colour = data[_PNG_DEPTH], data[_PNG_COLOUR]
    if colour == _PNG_PALETTE or depth < 8:
        return _decode_indexed_png(data, depth, colour)
    # libpng keeps all 16 bits, where Pillow cuts RGB to 8 without a word, and checks every CRC.
    pixels = imagecodecs.png_decode(data)
    return Raster(_without_alpha(pixels, 1 if pixels.ndim == 2 or pixels.shape[-1] == 2 else 3), depth)


def _decode_indexed_png(data: bytes, depth: int, colour: int) -> Raster:
    """Palettes and 1, 2 and 4 bit grey: libpng expands both, Pillow keeps indices and scales grey to 0..255."""
    PngImagePlugin.PngImageFile(BytesIO(data)).verify()
    image = PngImagePlugin.PngImageFile(BytesIO(data))
    pixels = np.array(image)
    if colour == _PNG_GREY:
        scale = 1 if pixels.dtype == bool else 255 // (2**depth - 1)
        return Raster(pixels.astype(np.uint8) // scale, depth)
    return Raster(pixels, depth, np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3))


def _decode_jpeg(data: bytes) -> Raster:
    image = JpegImagePlugin.JpegImageFile(BytesIO(data))
    _refuse_odd(image)
    if image.mode not in ("L", "RGB"):
        raise UnusableImageError(f"holds {image.mode} ink values; save it as RGB")
    return Raster(np.array(image), 8)


def _refuse_odd(image: ImageFile) -> None:
    _check_size(image.height, image.width)
    if getattr(image, "n_frames", 1) != 1:
        raise UnusableImageError("is an animation; export the one frame that is meant")
    if "exif" in image.info:
        _check_upright(image.getexif().get(_ORIENTATION, 1))


def _decode_tiff(data: bytes) -> Raster:
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = tiff.pages[0]
        _refuse_odd_tiff(tiff, page, len(data))
        pixels = page.asarray()
    kind = tifffile.PHOTOMETRIC(page.photometric).name
    palette = (page.colormap.T >> 8).astype(np.uint8) if kind == "PALETTE" else None
    if pixels.dtype.kind not in "bui":
        raise UnusableImageError(f"holds {pixels.dtype} values; save it as 8 or 16 bit integers")
    pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    pixels = np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels
    return Raster(_without_alpha(pixels, _TIFF_CHANNELS[kind]), page.bitspersample, palette, kind == "MINISWHITE")


_TIFF_CHANNELS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3}


def _refuse_odd_tiff(tiff: tifffile.TiffFile, page: Any, size_bytes: int) -> None:  # noqa: ANN401
    _check_size(page.imagelength, page.imagewidth)
    # ImageJ stacks of one directory show only in the series.
    if len(tiff.pages) != 1 or tiff.series[0].size != page.size or page.axes not in ("YX", "YXS", "SYX"):
        raise UnusableImageError(f"is a stack {tiff.series[0].shape}; export the one plane that is meant")
    kind = tifffile.PHOTOMETRIC(page.photometric).name
    if kind not in _TIFF_CHANNELS or (kind == "YCBCR" and page.compression != tifffile.COMPRESSION.JPEG):
        raise UnusableImageError(f"holds {kind} values; save it as RGB or grey")
    # JPEG strips decode leniently, so that a cut file would pass as a grey smear.
    needed = max(start + n for start, n in zip(page.dataoffsets, page.databytecounts, strict=True))
    if needed > size_bytes:
        raise UnusableImageError(f"is truncated: {size_bytes} bytes, its strips need {needed}")
    tag = page.tags.get(_ORIENTATION)
    _check_upright(1 if tag is None else int(tag.value))


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise UnusableImageError(f"has {height} x {width} pixels, over the limit of {MAX_PIXELS}; cut it into fields")


def _check_upright(orientation: int) -> None:
    # Half of all programs turn such pictures and half do not, so whoever drew the mask saw either.
    if orientation != 1:
        raise UnusableImageError(f"is stored turned (orientation {orientation}); save it upright, as its mask is")


def _without_alpha(pixels: np.ndarray, n_channels: int) -> np.ndarray:
    """Grey as [y, x], colours as [y, x, 3]; one more channel than the colours need is alpha."""
    found = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if found not in (n_channels, n_channels + 1):
        raise UnusableImageError(f"has {found} channels; save it as grey, RGB or RGBA")
    if n_channels == 3:
        return pixels[..., :3]
    return pixels if pixels.ndim == 2 else pixels[..., 0]


_DECODERS: dict[bytes, Callable[[bytes], Raster]] = {
    b"\x89PNG\r\n\x1a\n": _decode_png,
    b"\xff\xd8\xff": _decode_jpeg,
    b"II*\x00": _decode_tiff,
    b"MM\x00*": _decode_tiff,
    b"II+\x00": _decode_tiff,
    b"MM\x00+": _decode_tiff,
}
