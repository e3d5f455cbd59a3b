"""A raster as an 8-bit image for the model."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from .raster import Raster, UnusableImageError, WindowNeededError

IntensityWindow = tuple[int, int]
"""The intensities (lo, hi) that become 0 and 255, in the file's units: grey levels, or Hounsfield units of a CT."""


def as_rgb(raster: Raster, window: IntensityWindow | None) -> UInt8[np.ndarray, "y x 3"]:
    """The raster as RGB in 0..255.

    Grey is repeated on three channels, palettes are looked up. Values of more than 8 bits, and physical ones, go
    through `window`: lo..hi linearly to 0..255, rounded to nearest (halves up), clipped outside. Plain values of up to
    8 bits ignore it. Transparent parts are blended over white, the colour of a slide's empty glass.

    Raises:
        UnusableImageError: There is no window where one is needed, or values are missing (NaN, beyond the palette).
    """
    top = 255 if raster.palette is not None else 2**raster.bits - 1
    alpha = raster.alpha
    if alpha is None:
        return _opaque_rgb(raster, window)
    if alpha.dtype.kind != "u":
        raise UnusableImageError(f"has an alpha channel of {alpha.dtype} values; save it without")
    if (alpha == top).all():
        return _opaque_rgb(raster, window)
    if raster.premultiplied:
        raster = replace(raster, pixels=_divided(raster.pixels, alpha, top))
    return _over_white(_opaque_rgb(raster, window), alpha, top)


def _opaque_rgb(raster: Raster, window: IntensityWindow | None) -> UInt8[np.ndarray, "y x 3"]:
    """The raster as RGB, whatever its alpha."""
    if raster.palette is not None:
        return _look_up(raster.palette, raster.pixels)
    pixels = _to_8_bits(raster, window)
    if raster.white_is_zero:
        pixels = 255 - pixels
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(rgb)


def _divided(
    pixels: Integer[np.ndarray, "y x *c"], alpha: Integer[np.ndarray, "y x"], top: int
) -> Integer[np.ndarray, "y x *c"]:
    """Premultiplied colours (colour · alpha / top, both up to `top`) before that; 0 where alpha is."""
    result = np.empty_like(pixels)
    for row, stored, opacity in zip(result, pixels, alpha, strict=True):  # by rows, since the numbers are 8 bytes wide
        divisor = np.maximum(opacity, 1).astype(np.uint64).reshape(-1, *(1,) * (stored.ndim - 1))
        row[...] = np.minimum((stored.astype(np.uint64) * top + divisor // 2) // divisor, top)
    return result


def _over_white(
    rgb: UInt8[np.ndarray, "y x 3"], alpha: Integer[np.ndarray, "y x"], top: int
) -> UInt8[np.ndarray, "y x 3"]:
    """Colours of opacity alpha / top before white, rounded to nearest."""
    result = np.empty_like(rgb)
    for row, colours, opacity in zip(result, rgb, alpha, strict=True):
        share = opacity.astype(np.uint64)[:, None]
        row[...] = (colours * share + 255 * (top - share) + top // 2) // top
    return result


def _look_up(palette: UInt8[np.ndarray, "n 3"], indices: Integer[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    if indices.size and indices.max() >= len(palette):
        raise UnusableImageError(f"uses palette index {indices.max()}, its palette ends at {len(palette) - 1}")
    colours: np.ndarray = palette[indices]
    return colours


def _to_8_bits(raster: Raster, window: IntensityWindow | None) -> UInt8[np.ndarray, "y x *c"]:
    pixels = raster.pixels
    if pixels.dtype == np.uint8:
        white = 2**raster.bits - 1
        return pixels if white == 255 else (pixels.astype(np.uint16) * 255 // white).astype(np.uint8)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnusableImageError("holds values that are no numbers (NaN or infinite); replace them by the background's")
    if window is None:
        raise _window_needed(raster)
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        return _through(window, pixels)
    return _look_up_16_bits(window, pixels)


def _look_up_16_bits(window: IntensityWindow, pixels: Integer[np.ndarray, "y x *c"]) -> UInt8[np.ndarray, "y x *c"]:
    shown = _table(window, pixels.dtype)
    result = np.empty(pixels.shape, np.uint8)
    patterns = pixels.view(f"u{pixels.dtype.itemsize}")
    for row, indices in zip(result, patterns, strict=True):  # numpy widens an index to 8 bytes
        row[...] = shown[indices]
    return result


@lru_cache(maxsize=8)
def _table(window: IntensityWindow, dtype: np.dtype[Any]) -> UInt8[np.ndarray, " pattern"]:
    """Windowed value of each of at most 65,536 values, by their bits read without a sign."""
    patterns = np.arange(256**dtype.itemsize, dtype=f"u{dtype.itemsize}")
    return _through(window, patterns.view(dtype))


def _through(window: IntensityWindow, values: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """The values through the window; exact in float64, which whole numbers beyond 2**53 only leave for their clip."""
    lo, hi = window
    clipped = np.clip(values.astype(np.float64), lo, hi)
    return ((2 * 255 * (clipped - lo) + (hi - lo)) // (2 * (hi - lo))).astype(np.uint8)


def _window_needed(raster: Raster) -> WindowNeededError:
    lo, hi = raster.pixels.min(), raster.pixels.max()
    suggested = " (the file itself suggests --window {},{})".format(*raster.suggested) if raster.suggested else ""
    return WindowNeededError(f"holds {raster.bits} bit values ({lo:g} to {hi:g})", suggested)
