"""A TIFF's image by regions: only the tiles or strips that a region touches are read and decoded.

The image is the first page, at full resolution, or one of the smaller copies of it that may follow (levels of a
pyramid). The thumbnail, label and overview of a scanned slide may stand there too; any other page makes the file a
stack, in which the plane that is meant is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Shaped, UInt8

from . import raster as decoding
from .raster import (
    ORIENTATION,
    Raster,
    UnusableImageError,
    UnusableKindError,
    broken_bytes,
    check_channels,
    check_size,
    check_upright,
    split_alpha,
)
from .source import Box, LevelGrid

_ALPHA = {tifffile.EXTRASAMPLE.ASSOCALPHA: True, tifffile.EXTRASAMPLE.UNASSALPHA: False}
"""The channels that ExtraSamples calls alpha: whether the colours are multiplied by it already."""
_CHANNELS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3}
_OLD_JPEG = 6  # of TIFF 6.0: its segments are parts of a stream
_JPEG = (_OLD_JPEG, 7, 33007, 34892)  # the compressions whose segments share tables (tifffile's own list)
_END_OF_JPEG, _PADDING = b"\xff\xd9", b"\x00\xff"
_KEPT_PIXELS = 2**24  # of decoded segments: a row of tiles across a whole slide shares its strips
_BOX_PIXELS = 2**22
_MPP = re.compile(r"\|\s*MPP\s*=\s*(?P<um>\d+(?:\.\d+)?)")  # micrometres a pixel, in Aperio's description


class TiffImage:
    """The first page of a TIFF, or a level of it; tiles or strips are decoded as they are needed. Safe in threads."""

    def __init__(self, path: Path, level: int = 0) -> None:
        """Read the page's tags, or those of a smaller copy of it.

        Raises:
            UnusableImageError: The file is broken, a stack, without such a level, or of a kind that is not supported.
        """
        with broken_bytes(), tifffile.TiffFile(path, _multifile=False) as tiff:
            _refuse_stack(tiff)
            page = _level_of(tiff, level)
            _refuse_odd(page, tiff.filehandle.size)
            self.grid = _grid_of(tiff, page)
            self._segments = _segments_of(path, page)
            self._palette = _palette_of(page)
        self.size: tuple[int, int] = (page.imagelength, page.imagewidth)
        self._bits = page.bitspersample
        self._kind = tifffile.PHOTOMETRIC(page.photometric).name
        self._premultiplied = any(_ALPHA[extra] for extra in page.extrasamples)
        n_kept = max(1, _KEPT_PIXELS // (self._segments.height * self._segments.width))
        self._decoded = lru_cache(maxsize=n_kept)(self._segments.decode)

    def read(self, top: int, left: int, height: int, width: int) -> Raster:
        """The stored values of a region that lies inside the image.

        Raises:
            UnusableImageError: A segment is broken, or the region is over the limit of pixels.
        """
        check_size(height, width, "read it in tiles (--tile N)")
        segments = self._segments
        pixels = np.full((height, width, segments.n_channels), segments.empty, segments.dtype)
        for row in range(top // segments.height, -(-(top + height) // segments.height)):
            for column in range(left // segments.width, -(-(left + width) // segments.width)):
                for plane in range(segments.n_planes):
                    self._paste(pixels, (top, left), (plane, row, column))
        values = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
        colours, alpha = split_alpha(values)
        white_is_zero = self._kind == "MINISWHITE"
        return Raster(colours, self._bits, self._palette, white_is_zero, alpha=alpha, premultiplied=self._premultiplied)

    def _paste(self, pixels: np.ndarray, corner: tuple[int, int], position: tuple[int, int, int]) -> None:
        """Copy what a segment and the region have in common; a segment that is not stored stays empty."""
        segment = self._decoded(position)
        if segment is None:
            return
        plane, row, column = position
        top, left = row * self._segments.height - corner[0], column * self._segments.width - corner[1]
        target = pixels[max(top, 0) : top + segment.shape[0], max(left, 0) : left + segment.shape[1]]
        source = segment[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]
        channels = slice(None) if self._segments.n_planes == 1 else slice(plane, plane + 1)
        target[..., channels] = source

    def boxes(self) -> Iterator[Box]:
        """Regions of some million pixels that cover the image and cut no segment in two."""
        segments, (height, width) = self._segments, self.size
        across = min(width, segments.width * max(1, _BOX_PIXELS // (segments.height * segments.width)))
        down = min(height, segments.height * max(1, _BOX_PIXELS // (segments.height * across)))
        for top in range(0, height, down):
            for left in range(0, width, across):
                yield top, left, min(down, height - top), min(across, width - left)


@dataclass(frozen=True)
class _Segments:
    """Where a page's tiles or strips lie, and how each is decoded."""

    path: Path
    height: int
    width: int
    n_rows: int
    n_columns: int
    n_planes: int
    """Planes that hold a channel each; 1 where a pixel's channels stand together."""
    n_channels: int
    dtype: np.dtype[Any]
    empty: int
    """The value of pixels in segments that are not stored."""
    offsets: tuple[int, ...]
    sizes_bytes: tuple[int, ...]
    decoder: Any
    shared: dict[str, Any]
    """Further input of the decoder: tables of JPEG segments."""
    is_jpeg: bool
    """Whether each segment is a whole JPEG stream."""

    def decode(self, position: tuple[int, int, int]) -> Shaped[np.ndarray, "y x c"] | None:
        """The segment at (plane, row, column); `None` if it is not stored."""
        plane, row, column = position
        index = (plane * self.n_rows + row) * self.n_columns + column
        if self.sizes_bytes[index] == 0:
            return None
        with self.path.open("rb") as file:
            file.seek(self.offsets[index])
            data = file.read(self.sizes_bytes[index])
        # The decoder fills what is missing of a stream with grey, without a word.
        if self.is_jpeg and not data.rstrip(_PADDING).endswith(_END_OF_JPEG):
            raise UnusableImageError(f"is truncated: its tile or strip {index} ends within the image")
        with broken_bytes():
            segment = self.decoder(data, index, **self.shared)[0]
        pixels: np.ndarray = segment[0]
        return pixels


def _segments_of(path: Path, page: Any) -> _Segments:  # noqa: ANN401
    y = page.axes.index("Y")  # 1 where a plane comes first
    height, width = page.chunks[:2]
    n_rows, n_columns = page.chunked[y : y + 2]
    if height * width < 1:
        raise UnusableImageError(f"is broken: its tiles or strips have {height} x {width} pixels")
    if height * width > decoding.MAX_PIXELS:
        raise UnusableImageError(
            f"is stored in tiles or strips of {height} x {width} pixels, over the limit of {decoding.MAX_PIXELS}; "
            "save it in tiles of 256 x 256"
        )
    if len(page.databytecounts) != prod(page.chunked):
        raise UnusableImageError(f"is broken: {len(page.databytecounts)} tiles or strips for {page.chunked}")
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _JPEG else {}
    return _Segments(
        path=path,
        height=height,
        width=width,
        n_rows=n_rows,
        n_columns=n_columns,
        n_planes=page.chunked[0] if y == 1 else 1,
        n_channels=page.samplesperpixel,
        dtype=page.dtype,
        empty=page.nodata,
        offsets=page.dataoffsets,
        sizes_bytes=page.databytecounts,
        decoder=page.decode,
        shared=tables,
        is_jpeg=page.compression in _JPEG and page.compression != _OLD_JPEG,
    )


def _palette_of(page: Any) -> UInt8[np.ndarray, "n 3"] | None:  # noqa: ANN401
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE:
        return None
    colours: np.ndarray = (page.colormap.T >> 8).astype(np.uint8)
    return colours


def _refuse_stack(tiff: tifffile.TiffFile) -> None:
    page = tiff.pages[0]
    # ImageJ stacks of one directory show only in the series.
    if tiff.series[0].size != page.size or page.axes not in ("YX", "YXS", "SYX") or _has_other_planes(tiff):
        raise UnusableImageError(f"is a stack {_shape(tiff)}; export the one plane that is meant")


def _level_of(tiff: tifffile.TiffFile, level: int) -> Any:  # noqa: ANN401
    """The first page, or one of the smaller copies of it that the file is a pyramid of."""
    pages = [pages[0].aspage() for pages in tiff.series[0].levels]
    if len(pages) == 1:
        smaller = [page.aspage() for page in list(tiff.pages)[1:]]
        # Aperio's thumbnail is a copy too, in strips.
        pages += [
            page for page in smaller if (page.is_tiled if tiff.is_svs else page.is_reduced) and _is_copy(page, pages[0])
        ]
    if level >= len(pages):
        raise UnusableImageError(f"has no level {level}; it has level=0" + (f" to {len(pages) - 1}" * (len(pages) > 1)))
    return pages[level]


def _is_copy(page: Any, first: Any) -> bool:  # noqa: ANN401
    """Whether a page has the first one's proportions, within a pixel."""
    across = page.imagewidth * first.imagelength
    return abs(across - page.imagelength * first.imagewidth) <= max(first.imagelength, first.imagewidth)


def _grid_of(tiff: tifffile.TiffFile, page: Any) -> LevelGrid:  # noqa: ANN401
    """Downsampling, and the size of a pixel where a scanner's description states it."""
    first = tiff.pages[0]
    y, x = first.imagelength / page.imagelength, first.imagewidth / page.imagewidth
    stated = _MPP.search(first.description) if tiff.is_svs else None
    mm = float(stated["um"]) / 1000 if stated else 0.0
    return LevelGrid((y, x), (mm * y, mm * x) if mm else None)


def _refuse_odd(page: Any, size_bytes: int) -> None:  # noqa: ANN401
    kind = tifffile.PHOTOMETRIC(page.photometric).name
    if kind not in _CHANNELS or (kind == "YCBCR" and page.compression != tifffile.COMPRESSION.JPEG):
        raise UnusableKindError(f"holds {kind} values; save it as RGB or grey")
    check_channels(page.samplesperpixel, _CHANNELS[kind], sum(extra in _ALPHA for extra in page.extrasamples))
    if page.dtype is None or page.dtype.kind not in "buif":
        raise UnusableImageError(f"holds {page.dtype} values; save it as integers or floats")
    # JPEG strips decode leniently, so that a cut file would pass as a grey smear.
    needed = max(start + n for start, n in zip(page.dataoffsets, page.databytecounts, strict=True))
    if needed > size_bytes:
        raise UnusableImageError(f"is truncated: {size_bytes} bytes, its strips need {needed}")
    tag = page.tags.get(ORIENTATION)
    check_upright(1 if tag is None else int(tag.value))


def _has_other_planes(tiff: tifffile.TiffFile) -> bool:
    """Whether a page stands there that is no smaller copy of the first and no companion of a scanned slide."""
    first = tiff.pages[0]
    if first.is_reduced:
        return True
    if tiff.is_svs:
        return False
    levels = {page.index for level in tiff.series[0].levels for page in level.pages if page is not None}
    return any(not (page.aspage().is_reduced or page.index in levels) for page in list(tiff.pages)[1:])


def _shape(tiff: tifffile.TiffFile) -> tuple[int, ...]:
    shape: tuple[int, ...] = tiff.series[0].shape
    return shape
