"""Bytes of a PNG or JPEG file into the numbers that stand in it, or a reason why not.

Nothing is guessed or repaired: a truncated file, a stack, ink values or an image that is stored on its side
is refused. The decoders are called without Pillow's `Image.open`, whose check against decompression bombs is a
warning, which threads cannot turn into an error safely. `tiff`, `dicom` and `nifti` make the same `Raster`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
from jaxtyping import Integer, Real, UInt8
from PIL import JpegImagePlugin, PngImagePlugin
from PIL.ImageFile import ImageFile

MAX_PIXELS = 200_000_000  # 600 MB as RGB: what is decoded in one piece
NO_MEMORY = "needs more memory than there is: it is broken, or too large for this machine"
ORIENTATION = 0x0112
"""The tag in Exif and TIFF for the orientation of an image; 1 is upright, and so is shown what is undefined."""
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # where the header, always the first chunk, holds bit depth and colour type
_PNG_GREY, _PNG_PALETTE = 0, 3

_is_decoding = ContextVar("is_decoding", default=False)
for _name in ("tifffile", "nibabel.global"):  # they log remarks on odd files, which would stand between our lines
    logging.getLogger(_name).addFilter(lambda _record: not _is_decoding.get())


class UnusableImageError(Exception):
    """The file cannot be used; the text goes after the file's name: "is truncated", "holds 3 pages; ..."."""


class UnusableKindError(UnusableImageError):
    """The file is sound, and of a kind that only other programs read."""


class WindowNeededError(UnusableImageError):
    """Values of more than 8 bits, or physical ones, and no intensity window for them.

    Args:
        values: "holds 16 bit values (0 to 4095)".
        suggested: " (the file itself suggests --window -160,240)", or "".
    """

    def __init__(self, values: str, suggested: str) -> None:
        said = "say with an intensity window (--window LOW,HIGH) which of them become black and white"
        super().__init__(f"{values}; {said}{suggested}")
        self.values, self.suggested = values, suggested


@dataclass(frozen=True)
class Raster:
    """Content of an image file or of a region of it, before it is read as an image or as a mask."""

    pixels: Real[np.ndarray, "y x"] | Integer[np.ndarray, "y x 3"]
    """Stored values: grey levels, palette indices or RGB (alpha stands apart), or physical values if scaled."""
    bits: int
    """Of one stored value: 1, 2, 4, 8, 12, 16, 32 or 64."""
    palette: UInt8[np.ndarray, "n 3"] | None = None
    """RGB of every palette index; None where values are grey levels or colours themselves."""
    white_is_zero: bool = False
    """True where the largest value is shown black (TIFF's MINISWHITE, DICOM's MONOCHROME1)."""
    suggested: tuple[int, int] | None = None
    """The intensity window that the file itself recommends."""
    alpha: Integer[np.ndarray, "y x"] | None = None
    """Opacity from 0 (transparent) to the largest value of `bits` bits (beside a palette, to 255); None: opaque."""
    premultiplied: bool = False
    """Whether the colours are multiplied by alpha already (1 of TIFF's ExtraSamples)."""


def decode_png(data: bytes) -> Raster:
    """Decode a whole PNG file.

    Raises:
        UnusableImageError: It is broken, too large, an animation or stored turned.
    """
    with broken_bytes():
        image = PngImagePlugin.PngImageFile(BytesIO(data))
        refuse_odd(image)
        depth, colour = data[_PNG_DEPTH], data[_PNG_COLOUR]
        if colour == _PNG_PALETTE or depth < 8:
            return _decode_indexed_png(data, depth, colour)
        # libpng keeps all 16 bits, where Pillow cuts RGB to 8 without a word, and checks every CRC.
        # Transparent colours (tRNS) come as alpha.
        pixels, alpha = split_alpha(imagecodecs.png_decode(data))
        return Raster(pixels, depth, alpha=alpha)


def _decode_indexed_png(data: bytes, depth: int, colour: int) -> Raster:
    """Palettes and 1, 2 and 4 bit grey: libpng expands both, Pillow keeps indices and scales grey to 0..255."""
    PngImagePlugin.PngImageFile(BytesIO(data)).verify()
    image = PngImagePlugin.PngImageFile(BytesIO(data))
    pixels = np.array(image)
    if colour == _PNG_GREY:
        scale = 1 if pixels.dtype == bool else 255 // (2**depth - 1)
        return Raster(pixels.astype(np.uint8) // scale, depth)
    palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return Raster(pixels, depth, palette, alpha=palette_alpha(pixels, image.info.get("transparency")))


def palette_alpha(
    indices: UInt8[np.ndarray, "y x"], transparency: int | bytes | None
) -> UInt8[np.ndarray, "y x"] | None:
    """Opacity of each pixel, where Pillow says of a palette which index is transparent, or how opaque the first are."""
    if transparency is None:
        return None
    of_index = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        of_index[transparency] = 0
    else:
        of_index[: len(transparency)] = np.frombuffer(transparency, np.uint8)
    opacity: np.ndarray = of_index[indices]
    return opacity


def decode_jpeg(data: bytes) -> Raster:
    """Decode a whole JPEG file.

    Raises:
        UnusableImageError: It is broken, too large, stored turned, or neither grey nor RGB.
    """
    with broken_bytes():
        image = JpegImagePlugin.JpegImageFile(BytesIO(data))
        refuse_odd(image)
        if image.mode not in ("L", "RGB"):
            raise UnusableImageError(f"holds {image.mode} ink values; save it as RGB")
        return Raster(np.array(image), 8)


def refuse_odd(image: ImageFile) -> None:
    """Refuse animations, too many pixels, and pictures that are stored turned."""
    check_size(image.height, image.width)
    if getattr(image, "n_frames", 1) != 1:
        raise UnusableImageError("is an animation; export the one frame that is meant")
    if "exif" in image.info:
        check_upright(image.getexif().get(ORIENTATION, 1))


@contextmanager
def broken_bytes() -> Iterator[None]:
    """Anything that a decoder raises becomes "is truncated or broken": broken bytes make them raise nearly anything.

    What decoders log meanwhile in this thread goes unheard.
    """
    outside = _is_decoding.set(True)
    try:
        yield
    except UnusableImageError:
        raise
    except MemoryError as error:
        raise UnusableImageError(NO_MEMORY) from error
    except Exception as error:
        raise UnusableImageError(f"is truncated or broken ({type(error).__name__}: {error})") from error
    finally:
        _is_decoding.reset(outside)


def check_size(height: int, width: int, advice: str = "cut it into fields") -> None:
    """Refuse no pixels, and more than are decoded in one piece."""
    if min(height, width) < 1:
        raise UnusableImageError(f"is broken: it has {height} x {width} pixels")
    if height * width > MAX_PIXELS:
        raise UnusableImageError(f"has {height} x {width} pixels, over the limit of {MAX_PIXELS}; {advice}")


def check_upright(orientation: int) -> None:
    """Refuse pictures that are stored turned."""
    # Half of all programs turn such pictures and half do not, so whoever drew the mask saw either.
    if orientation in range(2, 9):  # others are undefined; cameras without a sensor for it write 0
        raise UnusableImageError(f"is stored turned (orientation {orientation}); save it upright, as its mask is")


def check_channels(n_found: int, n_channels: int, n_alpha: int = 1) -> None:
    """Refuse other channels than those of the colours and, where `n_alpha` is 1, alpha."""
    if n_found == n_channels + 1 and not n_alpha:
        raise UnusableImageError(
            f"has {n_found} channels, and does not say that the last is alpha (ExtraSamples 1 or 2); save the one that "
            "is meant as grey, or three as RGB"
        )
    if n_found not in (n_channels, n_channels + 1):
        raise UnusableImageError(f"has {n_found} channels; save it as grey, RGB or RGBA")


def split_alpha(
    pixels: Integer[np.ndarray, "y x *channel"],
) -> tuple[Integer[np.ndarray, "y x *channel"], Integer[np.ndarray, "y x"] | None]:
    """Grey as [y, x] or colours as [y, x, 3], and apart from them the alpha of 2 or 4 channels."""
    n_found = 1 if pixels.ndim == 2 else pixels.shape[-1]
    colours = pixels if pixels.ndim == 2 else pixels[..., 0] if n_found < 3 else pixels[..., :3]
    return colours, pixels[..., -1] if n_found in (2, 4) else None
