"""A raster as the values of a mask: what it shows, not the numbers by which a file happens to store it.

A palette of greys is its grey levels, so that white stays white wherever an optimiser puts it. Indices of other
palettes mean something only if all masks of a data set share them, which the data set decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Integer, Shaped

from ..raster import Raster, UnusableImageError
from .content import MaskContent, naming, packed, written
from .survey import Survey

_MAX_VALUE = 2**31
"""Of a mask that is stored as floats; a class has no such number."""
_MOST_CHROMA = 40
"""Difference of channels, of 255, that passes for grey."""
BY_ALPHA = '{"masks": "alpha"}'


def mask_reader(content: MaskContent, found: Survey) -> Callable[[Raster], Integer[np.ndarray, "y x"]]:
    """The function that takes a raster's `content`.

    Raises:
        UnusableImageError: The mask's shape stands in its alpha channel, which is not asked for.
    """
    if content == "alpha":
        return as_opacity
    if found.shape_in_alpha:
        raise UnusableImageError(
            "shows one colour, its shape stands in the alpha channel (transparency); save the mask as grey, or say "
            f"{BY_ALPHA} in classes.json, by which whatever is opaque is foreground"
        )
    others = {"colours": as_colours, "grey": as_grey, "instances": as_instances}
    return others[content] if content in others else partial(as_values, look_up=content == "values" and found.is_grey)


def as_values(raster: Raster, *, look_up: bool) -> Integer[np.ndarray, "y x"]:
    """The raster's grey levels; of a palette its indices, or the grey levels that they stand for.

    Raises:
        UnusableImageError: It is in colour, or holds values that are not whole numbers.
    """
    pixels = raster.pixels
    if raster.palette is not None:
        return raster.palette[pixels, 0] if look_up else pixels
    if pixels.ndim == 3:
        return _equal_channels(pixels)
    return _as_whole(pixels) if pixels.dtype.kind == "f" else pixels  # as stored, even where 0 is white


def as_colours(raster: Raster) -> Integer[np.ndarray, "y x"]:
    """The raster's colours, 0xRRGGBB; greys of less than 8 bits are stretched to 0 to 255.

    Raises:
        UnusableImageError: It has more than 8 bits.
    """
    pixels = raster.pixels if raster.palette is None else raster.palette[raster.pixels]
    if pixels.dtype != np.uint8:
        raise UnusableImageError(f"holds {raster.bits} bit values, and colours are declared; save it as 8 bit RGB")
    if pixels.ndim == 3:
        return packed(pixels)
    top = 2**raster.bits - 1
    grey = top - pixels if raster.white_is_zero else pixels
    return grey.astype(np.int32) * 255 // top * 0x010101


def as_instances(raster: Raster) -> Integer[np.ndarray, "y x"]:
    """The raster's grey levels, or colours (0xRRGGBB) where it has any: 0 is the background in both."""
    if raster.palette is not None or raster.pixels.ndim == 3:
        return as_colours(raster)
    return as_values(raster, look_up=False)


def as_grey(raster: Raster) -> Integer[np.ndarray, "y x"]:
    """The raster's grey levels, of colours the mean of the channels.

    Raises:
        UnusableImageError: It is in colour: channels differ by more than the noise of JPEG.
    """
    pixels = raster.pixels if raster.palette is None else raster.palette[raster.pixels]
    if pixels.ndim == 2:
        return as_values(raster, look_up=True)
    wide = pixels.astype(np.int32)
    if (wide.max(-1) - wide.min(-1) > _MOST_CHROMA * (2**raster.bits // 256)).any():
        raise UnusableImageError("is in colour, and a grey level is declared from which on masks are foreground")
    grey: np.ndarray = wide.sum(-1) // 3
    return grey


def as_opacity(raster: Raster) -> Integer[np.ndarray, "y x"]:
    """The raster's alpha, from 0 (transparent) to 255.

    Raises:
        UnusableImageError: It has none.
    """
    if raster.alpha is None or raster.alpha.dtype.kind != "u":
        raise UnusableImageError(
            f"has no alpha channel (transparency), in which {BY_ALPHA} of classes.json says the mask's shape stands"
        )
    top = 255 if raster.palette is not None else 2**raster.bits - 1
    return (raster.alpha.astype(np.uint64) * 255 // top).astype(np.uint8)


def _as_whole(pixels: Shaped[np.ndarray, "y x"]) -> Integer[np.ndarray, "y x"]:
    if not ((np.abs(pixels) < _MAX_VALUE).all() and (pixels == np.rint(pixels)).all()):
        raise UnusableImageError(
            "holds values that are not whole numbers (below 2**31); save the mask as integers, one value a class (of "
            "probabilities, mask >= 0.5)"
        )
    return pixels.astype(np.int64)


def _equal_channels(pixels: Shaped[np.ndarray, "y x 3"]) -> Integer[np.ndarray, "y x"]:
    if not ((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()):
        raise UnusableImageError(f"is in colour; save the mask as grey, one value a class{_naming(pixels)}")
    return np.ascontiguousarray(pixels[..., 0])


def _naming(pixels: Shaped[np.ndarray, "y x 3"]) -> str:
    if pixels.dtype != np.uint8:
        return ""
    colours = [written(colour) for colour in np.unique(packed(pixels)).tolist()]
    return f", or {naming(colours)}"
