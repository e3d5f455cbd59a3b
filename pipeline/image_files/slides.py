"""A level of a scanned slide, read by OpenSlide or tiffslide (extra `slides`), whichever is installed and knows it.

TIFFs, Aperio's among them, are read by `tiff` without either. Here are the kinds that need a library of their own. What
a scanner left out is transparent to OpenSlide, and is blended over white, as glass.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import UInt8

from .paths import read_head
from .raster import Raster, UnusableImageError, broken_bytes, check_size
from .source import Box, LevelGrid

_SIDE = 1024  # pixels, of what is read at once
_N_KEPT = 16


class SlideImage:
    """A level of a slide; safe in threads."""

    def __init__(self, path: Path, level: int = 0) -> None:
        """Look the level up.

        Raises:
            UnusableImageError: The file is broken or of no known kind, has no such level, or neither library is
                installed.
        """
        slide = _open(path)
        weakref.finalize(self, slide.close)
        with broken_bytes():
            sizes = [(int(height), int(width)) for width, height in slide.level_dimensions]
            scales = list(map(float, slide.level_downsamples))
            mm = _pixel_mm(slide.properties)
        if level >= len(sizes):
            raise UnusableImageError(f"has no level {level}; it has level=0 to {len(sizes) - 1}")
        self._slide, self._reading, self._level, self._scale = slide, Lock(), level, scales[level]
        self.size: tuple[int, int] = sizes[level]
        y, x = sizes[0][0] / self.size[0], sizes[0][1] / self.size[1]
        self.grid = LevelGrid((y, x), mm and (mm[0] * y, mm[1] * x))
        self._decoded = lru_cache(maxsize=_N_KEPT)(self._decode)

    def read(self, top: int, left: int, height: int, width: int) -> Raster:
        """The pixels of a region that lies inside the level, with their opacity.

        Raises:
            UnusableImageError: A part is broken, or the region is over the limit of pixels.
        """
        check_size(height, width, "read it in tiles (--tile N)")
        rows, columns = (range(a // _SIDE, -(-(a + n) // _SIDE)) for a, n in ((top, height), (left, width)))
        parts = np.concatenate([np.concatenate([self._decoded(y, x) for x in columns], 1) for y in rows])
        y, x = top - rows[0] * _SIDE, left - columns[0] * _SIDE
        pixels = parts[y : y + height, x : x + width]
        return Raster(np.ascontiguousarray(pixels[..., :3]), 8, alpha=pixels[..., 3])

    def boxes(self) -> Iterator[Box]:
        """Regions that cover the level; reading them in turn decodes everything once."""
        height, width = self.size
        for top in range(0, height, _SIDE):
            for left in range(0, width, _SIDE):
                yield top, left, min(_SIDE, height - top), min(_SIDE, width - left)

    def _decode(self, row: int, column: int) -> UInt8[np.ndarray, "y x 4"]:
        top, left = row * _SIDE, column * _SIDE
        height, width = min(_SIDE, self.size[0] - top), min(_SIDE, self.size[1] - left)
        # Both libraries take the corner in pixels of level 0.
        corner = (round(left * self._scale), round(top * self._scale))
        with broken_bytes(), self._reading:  # a file of tiffslide's is not for several threads
            return np.asarray(self._slide.read_region(corner, self._level, (width, height)).convert("RGBA"))


def is_scanned(path: Path) -> bool:
    """Whether a library knows a TIFF as a scanner's own, not as any tiled TIFF."""
    try:
        with _open(path) as slide:
            return _property(slide.properties, "vendor") not in (None, "generic-tiff")
    except UnusableImageError:
        return False


def _open(path: Path) -> Any:  # noqa: ANN401
    read_head(path)  # whether there is a file
    reasons = []
    for load in (_load_openslide, _load_tiffslide):
        try:
            return load(path)
        except ImportError:
            continue
        except Exception as error:
            reasons.append(f"{type(error).__name__}: {error}")
    if not reasons:
        raise UnusableImageError("is a scanned slide of a kind that OpenSlide reads; install textdiff[slides]")
    raise UnusableImageError(f"is truncated, broken or no slide of a known kind ({'; '.join(reasons)})")


def _load_openslide(path: Path) -> Any:  # noqa: ANN401
    import openslide

    return openslide.OpenSlide(path)


def _load_tiffslide(path: Path) -> Any:  # noqa: ANN401
    import tiffslide

    return tiffslide.TiffSlide(path)


def _property(properties: Any, name: str) -> Any:  # noqa: ANN401
    """A property that both libraries have, each under its own name; `None`: it is unknown."""
    return properties.get(f"openslide.{name}", properties.get(f"tiffslide.{name}"))


def _pixel_mm(properties: Any) -> tuple[float, float] | None:  # noqa: ANN401
    """Height and width of a pixel of level 0; `None`: the scanner does not say."""
    try:
        y, x = (float(_property(properties, f"mpp-{axis}") or 0) / 1000 for axis in "yx")
    except ValueError:
        return None
    return (y, x) if 0 < min(y, x) <= max(y, x) < 1 else None
