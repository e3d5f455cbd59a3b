"""Bytes of a BMP, GIF or WebP file into a raster; Pillow decodes them, called by format as in `raster`."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from ..raster import Raster, UnusableImageError, broken_bytes, palette_alpha, refuse_odd, split_alpha

_END_OF_GIF = b";"


def decode_bmp(data: bytes) -> Raster:
    """Decode a whole BMP file.

    Raises:
        UnusableImageError: It is broken or too large.
    """
    with broken_bytes():
        return _raster(BmpImagePlugin.BmpImageFile(BytesIO(data)))


def decode_gif(data: bytes) -> Raster:
    """Decode a whole GIF file.

    Raises:
        UnusableImageError: It is broken, too large or an animation.
    """
    with broken_bytes():
        if not data.rstrip(b"\0").endswith(_END_OF_GIF):  # Pillow shows what there is
            raise UnusableImageError("is truncated: its end is missing")
        return _raster(GifImagePlugin.GifImageFile(BytesIO(data)))


def decode_webp(data: bytes) -> Raster:
    """Decode a whole WebP file.

    Raises:
        UnusableImageError: It is broken, too large, an animation or stored turned.
    """
    with broken_bytes():
        return _raster(WebPImagePlugin.WebPImageFile(BytesIO(data)))


def _raster(image: ImageFile) -> Raster:
    refuse_odd(image)
    pixels = np.array(image)
    if image.mode == "P":
        palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return Raster(pixels, 8, palette, alpha=palette_alpha(pixels, image.info.get("transparency")))
    if image.mode == "1":
        return Raster(pixels.astype(np.uint8), 1)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise UnusableImageError(f"holds {image.mode} values; save it as grey or RGB")
    colours, alpha = split_alpha(pixels)
    return Raster(colours, 8, alpha=alpha)
