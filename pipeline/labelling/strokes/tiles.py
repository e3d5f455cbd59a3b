"""Levels and tiles of an image: level k has 1 / 2^k of the pixels along an axis, a tile 256 x 256 of its level's."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from ....cache.format.samples import IGNORE
from ...image_files.source import Box
from .shapes import Mark

TILE = 256
_ROUNDED = 1e-6
"""By which a place on a segment may be off."""
Key = tuple[int, int, int]
"""Level, column and row of a tile."""


def n_levels_of(size: tuple[int, int]) -> int:
    """Levels of an image of this height and width; the last one is a single tile."""
    return 1 + max(0, (max(size) - 1).bit_length() - (TILE - 1).bit_length())


def level_size(size: tuple[int, int], level: int) -> tuple[int, int]:
    """Height and width of a level, rounded up."""
    return -(-size[0] >> level), -(-size[1] >> level)


def level_box(size: tuple[int, int], key: Key) -> Box | None:
    """The part of its level that a tile shows, less what lies outside the image; `None`: all of it does."""
    level, column, row = key
    if not 0 <= level < n_levels_of(size) or min(column, row) < 0:
        return None
    height, width = level_size(size, level)
    top, left = row * TILE, column * TILE
    return (top, left, min(TILE, height - top), min(TILE, width - left)) if top < height and left < width else None


def halve_labels(labels: UInt8[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y2 x2"]:
    """Half as many rows and columns: of four labels the highest class, so that thin strokes and small objects stay."""
    shifted = labels + np.uint8(1)  # IGNORE becomes 0
    across = np.maximum(shifted[:, ::2], shifted[:, 1::2])
    return np.maximum(across[::2], across[1::2]) - np.uint8(1)


def quarters(key: Key) -> list[tuple[Key, tuple[slice, slice]]]:
    """The four tiles of the next finer level, and the part of the tile that each fills."""
    level, column, row = key
    half = TILE // 2
    return [
        ((level - 1, 2 * column + x, 2 * row + y), (slice(y * half, (y + 1) * half), slice(x * half, (x + 1) * half)))
        for y in (0, 1)
        for x in (0, 1)
    ]


def empty_labels() -> UInt8[np.ndarray, "256 256"]:
    """A tile in which nothing is labelled."""
    return np.full((TILE, TILE), IGNORE, np.uint8)


def touched_tiles(mark: Mark, size: tuple[int, int]) -> set[Key]:
    """The native tiles of an image in which a mark may cover something."""
    corners = _pieces(mark)
    last = (size[0] - 1) // TILE, (size[1] - 1) // TILE
    low = np.maximum(corners[:, :2] // TILE, 0)
    high = np.minimum((corners[:, 2:] - 1) // TILE, last)
    pieces = {tuple(piece) for piece in np.concatenate([low, high], axis=1).tolist()}
    return {
        (0, column, row)
        for top, left, bottom, right in pieces
        for row in range(top, bottom + 1)
        for column in range(left, right + 1)
    }


def _pieces(mark: Mark) -> np.ndarray:
    """First row and column, and those after the last, of every segment or run of a mark; [piece, 4]."""
    if mark.tool == "bucket":
        rows, lefts, n = mark.runs.astype(np.int64).T
        return np.stack([rows, lefts, rows + 1, lefts + n], axis=1)
    if mark.tool == "polygon":
        return np.array([mark.bounds])
    points = mark.points if len(mark.points) > 1 else mark.points[[0, 0]]
    a, b = _cut(points[:-1, ::-1], points[1:, ::-1])
    reach = mark.radius + _ROUNDED
    low, high = np.floor(np.minimum(a, b) - reach), np.floor(np.maximum(a, b) + reach) + 1
    return np.concatenate([low, high], axis=1).astype(np.int64)


def _cut(a: Float[np.ndarray, "segment 2"], b: Float[np.ndarray, "segment 2"]) -> tuple[np.ndarray, np.ndarray]:
    """Segments from `a` to `b` in parts no longer than a tile along either axis."""
    n = np.maximum(np.ceil(np.abs(b - a).max(axis=1) / TILE), 1).astype(np.int64)
    segment = np.repeat(np.arange(len(n)), n)
    part = np.arange(len(segment)) - np.repeat(np.cumsum(n) - n, n)
    step = ((b - a) / n[:, None])[segment]
    start = a[segment] + step * part[:, None]
    return start, start + step
