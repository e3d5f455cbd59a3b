"""Images as overlapping square tiles, and tiles' results as whole images again, a band of rows at a time.

Offsets go row by row, so that when a row of tiles is done, everything above the next row's top is final: blending
holds one strip of the image as high as a tile, however large the image is. A whole image that was resized to the
model's size is the case of one tile and one band.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from ...errors import ConfigError
from ..image_files.source import Box, ImageReader, Offset


def tile_offsets(size: tuple[int, int], tile: int, overlap: int) -> tuple[Offset, ...]:
    """Where the tiles of an image lie, row by row.

    Neighbours share `overlap` pixels; the last of an axis ends at the border and shares more. An axis that is
    shorter than a tile has one, which reaches beyond the image.

    Args:
        size: height and width of the image in pixels.
        tile: side of a tile in pixels.
        overlap: in [0, tile).

    Raises:
        ConfigError: if tiles that overlap so much would never get across the image.
    """
    if not 0 <= overlap < tile:
        raise ConfigError(f"--tile-overlap got {overlap}; expected a number from 0 to {tile - 1}, below --tile")
    tops, lefts = (_starts(length, tile, tile - overlap) for length in size)
    return tuple((top, left) for top in tops for left in lefts)


def _starts(length: int, tile: int, stride: int) -> list[int]:
    last = max(length - tile, 0)
    return [*range(0, last, stride), last]


def pad_to_tile(part: UInt8[np.ndarray, "y x *c"], tile: int, fill: int | None) -> UInt8[np.ndarray, "tile tile *c"]:
    """Complete what lies in the image to a square, below and on the right.

    Args:
        part: at most `tile` pixels along either axis.
        tile: side of the square.
        fill: the value to complete with; `None`: the image mirrored at its border, as often as needed.
    """
    missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), *[(0, 0)] * (part.ndim - 2)]
    if fill is None:
        return np.pad(part, missing, mode="symmetric")
    return np.pad(part, missing, constant_values=fill)


def tile_box(size: tuple[int, int], offset: Offset, tile: int) -> Box:
    """The part of a tile that lies in an image of this height and width."""
    (top, left), (height, width) = offset, size
    return top, left, min(tile, height - top), min(tile, width - left)


def read_tile(image: ImageReader, offset: Offset, tile: int) -> UInt8[np.ndarray, "tile tile 3"]:
    """The tile at the offset, completed by reflection at the image's border."""
    return pad_to_tile(image.read(*tile_box(image.size, offset, tile)), tile, None)
