"""A plane of an OME-Zarr image: one level, time point and slice, and one channel or three.

Chunks are decoded as regions need them, by zarr itself: through dask, a region of an image of 100,000 chunks takes a
hundred times as long. Rows run along y, columns along x, as stored. A choice that the image leaves open is never made
for the user; the message lists what there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Real

from ....cache.storage.foreign import open_array
from ..paths import INDEX, Place
from ..raster import Raster, UnusableImageError, broken_bytes, check_size
from ..source import Box
from .metadata import NgffImage, NgffLevel, read_ngff

_KEPT_PIXELS = 2**24  # of decoded tiles: a row of a model's tiles across a whole slide shares its chunks
_TILE = 512  # pixels, at least; small chunks are decoded together
_RED_GREEN_BLUE = ("FF0000", "00FF00", "0000FF")


class NgffPlane:
    """A plane of an OME-Zarr image; safe in threads."""

    def __init__(self, folder: Path, place: Place) -> None:
        """Choose the plane.

        Args:
            folder: the image's.
            place: level, t, c (one, or three for red, green and blue) and z; a number alone is z.

        Raises:
            UnusableImageError: The image is broken or not supported, the place is not in it, or leaves it open which
                plane is meant.
            DataError: A file of metadata cannot be read.
        """
        image = read_ngff(folder)
        level, chosen = choose(image, place)
        with broken_bytes():
            self._values = open_array(image.folder / level.path, prod(level.chunks) * level.dtype.itemsize)
        self._axes, self._chosen = image.axes, chosen
        lengths = dict(zip(image.axes, level.shape, strict=True))
        chunks = dict(zip(image.axes, level.chunks, strict=True))
        self.size: tuple[int, int] = (lengths["y"], lengths["x"])
        self.grid = image.grid(level)
        self._tile = tuple(-(-min(_TILE, lengths[axis]) // chunks[axis]) * chunks[axis] for axis in "yx")
        windows = [image.channels[c].get("window") for c in chosen.get("c", ()) if c < len(image.channels)]
        self._suggested = _window(windows[0]) if windows else None
        self._decoded = lru_cache(maxsize=max(1, _KEPT_PIXELS // (self._tile[0] * self._tile[1])))(self._decode)

    def read(self, top: int, left: int, height: int, width: int) -> Raster:
        """The stored values of a region that lies inside the plane.

        Raises:
            UnusableImageError: A chunk is broken, or the region is over the limit of pixels.
        """
        check_size(height, width, "read it in tiles (--tile N)")
        rows = range(top // self._tile[0], -(-(top + height) // self._tile[0]))
        columns = range(left // self._tile[1], -(-(left + width) // self._tile[1]))
        tiles = np.concatenate([np.concatenate([self._decoded(y, x) for x in columns], 1) for y in rows])
        y, x = top - rows[0] * self._tile[0], left - columns[0] * self._tile[1]
        pixels = np.ascontiguousarray(tiles[y : y + height, x : x + width])
        return Raster(pixels, 8 * pixels.dtype.itemsize, suggested=self._suggested)

    def boxes(self) -> Iterator[Box]:
        """Regions that cover the plane and cut no chunk in two."""
        (height, width), (down, across) = self.size, self._tile
        for top in range(0, height, down):
            for left in range(0, width, across):
                yield top, left, min(down, height - top), min(across, width - left)

    def _decode(self, row: int, column: int) -> Real[np.ndarray, "y x *c"]:
        """A tile, of which the last of a row or column is smaller."""
        corner, (down, across) = (row * self._tile[0], column * self._tile[1]), self._tile
        within = {"y": slice(corner[0], corner[0] + down), "x": slice(corner[1], corner[1] + across)}
        planes = [self._plane(within, channel) for channel in self._chosen.get("c", (0,))]
        return planes[0] if len(planes) == 1 else np.stack(planes, -1)

    def _plane(self, within: Mapping[str, slice], channel: int) -> Real[np.ndarray, "y x"]:
        first = {axis: numbers[0] for axis, numbers in self._chosen.items()}
        at: dict[str, slice | int] = {**first, **within, "c": channel}
        with broken_bytes():
            part = np.asarray(self._values[tuple(at[axis] for axis in self._axes)])
        pixels = part if self._axes.index("y") < self._axes.index("x") else part.T
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels.astype(pixels.dtype.newbyteorder("="))


def count_slices(folder: Path, place: Place) -> int:
    """Number of slices along z that the place leaves open; 0: it is a plane, or has no z.

    Raises:
        UnusableImageError: As `NgffPlane`.
        DataError: As `NgffPlane`.
    """
    image = read_ngff(folder)
    if {"z", INDEX} & {*place} or "z" not in image.axes:
        return 0
    level, _ = choose(image, {**place, "z": (0,)})
    length = level.shape[image.axes.index("z")]
    return length if length > 1 else 0


def choose(image: NgffImage, place: Place) -> tuple[NgffLevel, dict[str, tuple[int, ...]]]:
    """The level that a place names (0 without a name), and the positions along t, c and z of those that there are.

    Raises:
        UnusableImageError: The place is not in the image, or leaves open which plane is meant.
    """
    wanted = {"z" if axis == INDEX else axis: numbers for axis, numbers in place.items()}
    level = wanted.pop("level", (0,))
    if len(level) > 1 or level[0] >= len(image.levels):
        raise UnusableImageError(f"has {_range('level', len(image.levels))}")
    lengths = dict(zip(image.axes, image.levels[level[0]].shape, strict=True))
    others = {axis: lengths[axis] for axis in "tcz" if axis in lengths}
    if unknown := sorted({*wanted} - {*others}):
        there = ", ".join(("level", *others))
        raise UnusableImageError(f"has no axis {', '.join(unknown)} to choose from; expected {there}")
    chosen = {axis: wanted.get(axis) or _only(image, level[0], axis, length) for axis, length in others.items()}
    wrong = [axis for axis, numbers in chosen.items() if not _fits(axis, numbers, others[axis])]
    if wrong:
        example = ",".join(f"{axis}=0" for axis in wrong)
        raise UnusableImageError(
            f"needs a plane by name: {'; '.join(_described(image, axis, others[axis]) for axis in wrong)}; "
            f"as in {image.folder.name}#{example}"
        )
    return image.levels[level[0]], {axis: numbers for axis, numbers in chosen.items() if numbers is not None}


def _only(image: NgffImage, level: int, axis: str, length: int) -> tuple[int, ...] | None:
    """The positions along an axis that nobody has to choose; `None`: there is a choice."""
    if length == 1:
        return (0,)
    colours = tuple(str(channel.get("color", "")).upper() for channel in image.channels)
    is_rgb = image.levels[level].dtype == np.uint8 and colours in ((), _RED_GREEN_BLUE)
    return (0, 1, 2) if axis == "c" and length == 3 and is_rgb else None


def _fits(axis: str, numbers: tuple[int, ...] | None, length: int) -> bool:
    return numbers is not None and len(numbers) in ((1, 3) if axis == "c" else (1,)) and max(numbers) < length


def _described(image: NgffImage, axis: str, length: int) -> str:
    if axis != "c":
        return _range(axis, length)
    labels = [str(channel.get("label", ""))[:40] for channel in image.channels[:length]]
    names = ", ".join(f"{c} {label!r}" for c, label in enumerate(labels) if label)
    return f"{_range('c', length)}{f' ({names})' if names else ''}, or three as red, green and blue (c=0+1+2)"


def _range(axis: str, length: int) -> str:
    return f"{axis}=0" + (f" to {axis}={length - 1}" if length > 1 else " alone")


def _window(window: Any) -> tuple[int, int] | None:  # noqa: ANN401
    """The range of values that the file itself recommends to show."""
    try:
        lo, hi = round(float(window["start"])), round(float(window["end"]))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    return (lo, hi) if lo < hi else None
