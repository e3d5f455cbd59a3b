"""Any image or mask file, read by regions.

A TIFF, a slide or an OME-Zarr image is read from its tiles as they are needed and never whole; every other file is
decoded on opening and sliced. What a region holds is exactly that part of what reading the whole file gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from ...errors import ConfigError, DataError
from .dicom import read_dicom
from .intensities import IntensityWindow, as_rgb
from .masks.content import MaskContent
from .masks.survey import Survey, survey
from .masks.values import mask_reader
from .ngff.planes import NgffPlane
from .nifti import read_nifti
from .paths import INDEX, SLIDE_SUFFIXES, Place, kind_of, read_bytes, read_head, split_place, split_suffix, written
from .plain.jpeg2000 import decode_jpeg2000
from .plain.pictures import decode_bmp, decode_gif, decode_webp
from .raster import Raster, UnusableImageError, UnusableKindError, decode_jpeg, decode_png
from .slides import SlideImage, is_scanned
from .source import Box, LevelGrid
from .tiff import TiffImage

RawPixels = Integer[np.ndarray, "y x *channel"]
Convert = Callable[[Raster], RawPixels]
LazySource = TiffImage | NgffPlane | SlideImage


class Regions:
    """An opened image or mask, from which several threads may read. Of files, only slides of a library stay open."""

    def __init__(self, path: Path, source: LazySource | Raster, convert: Convert, found: Survey | None = None) -> None:
        """Of a file's parts, or of all of it, which `convert` makes into pixels."""
        self._path = path
        self._source = convert(source) if isinstance(source, Raster) else source
        self._convert = convert
        self.found = found or Survey()
        """Of a mask."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        source = self._source
        return (source.shape[0], source.shape[1]) if isinstance(source, np.ndarray) else source.size

    @property
    def grid(self) -> LevelGrid:
        """Pixels in the image of full resolution; of an image without levels, each is one of its own."""
        return LevelGrid() if isinstance(self._source, np.ndarray) else self._source.grid

    def read(self, top: int, left: int, height: int, width: int) -> RawPixels:
        """The pixels of a region: [height, width, 3], uint8, RGB of an image; [height, width], integers, of a mask.

        Raises:
            ValueError: The region is not inside the image, which is the caller's mistake.
            DataError: This part of the file is broken, or cannot be read as what it was opened as.
        """
        if min(top, left) < 0 or min(height, width) < 1 or top + height > self.size[0] or left + width > self.size[1]:
            raise ValueError(
                f"the region of {height} x {width} pixels at ({top}, {left}) is not inside {self._path}, which has "
                f"{self.size[0]} x {self.size[1]}"
            )
        if isinstance(self._source, np.ndarray):
            return np.ascontiguousarray(self._source[top : top + height, left : left + width])
        with _explained(self._path):
            return self._convert(self._source.read(top, left, height, width))

    def read_whole(self) -> RawPixels:
        """All pixels.

        Raises:
            DataError: As `read`; also where a TIFF has too many pixels for one piece.
        """
        return self.read(0, 0, *self.size)

    def boxes(self) -> Iterator[Box]:
        """Regions (top, left, height, width) that cover the image; reading them in turn decodes everything once."""
        yield from [(0, 0, *self.size)] if isinstance(self._source, np.ndarray) else self._source.boxes()


def open_image(path: Path, window: IntensityWindow | None = None) -> Regions:
    """Open an image, to be read as RGB in 0..255; `FILE#INDEX` is a frame of a DICOM file or a slice of a NIfTI one.

    `FILE#level=1` is a level of a slide, `FILE#level=1,z=12,c=0` a plane of an OME-Zarr image.

    Grey is repeated on three channels, palettes are looked up, transparent parts are blended over white. Values
    of more than 8 bits, and those that the file scales to physical units, go through `window`: lo..hi linearly to
    0..255, rounded to nearest (halves up), clipped outside. Plain values of up to 8 bits ignore the window.

    Raises:
        DataError: The file is missing, truncated, of a kind that is not supported, or needs a window and has none (of
            a TIFF, this and broken segments show when they are read).
        ConfigError: The window is empty (hi not above lo).
    """
    if window is not None and window[1] <= window[0]:
        raise ConfigError(f"the intensity window {window} is empty: its second value must be above its first")
    return _open(path, partial(as_rgb, window=window))


def open_mask(path: Path, content: MaskContent = "values") -> Regions:
    """Open a mask, to be read as the values that it shows: grey levels, 0 and 1 for one bit.

    An RGB file counts as grey where its three channels are equal; a palette of which only greys occur is its grey
    levels, another its indices. Alpha is dropped, unless it holds the shape. Values that a DICOM or NIfTI file scales,
    and floats, are taken if they are whole numbers. Other `content` is for masks that are declared otherwise.

    Raises:
        DataError: The file is missing, truncated, of a kind that is not supported, in colour, not of whole numbers
            (of a TIFF, what is wrong with its segments shows when they are read), or has its shape in its alpha.
    """
    with _explained(path):
        source = _source(path)
        parts = [source] if isinstance(source, Raster) else (source.read(*box) for box in source.boxes())
        found = survey(parts)
        return Regions(path, source, mask_reader(content, found), found)


def _open(path: Path, convert: Convert) -> Regions:
    with _explained(path):
        return Regions(path, _source(path), convert)


def _source(path: Path) -> LazySource | Raster:
    file, place = split_place(path)
    if file.is_dir():
        return NgffPlane(file, place)
    head = read_head(file)
    is_slide = split_suffix(file.name)[1].lower() in SLIDE_SUFFIXES
    if is_slide or (kind_of(head) == "TIFF" and {*place} <= {"level"}):
        return _open_level(file, place, is_slide=is_slide)
    return _decode(file, place, head)


def grid_of(path: Path) -> LevelGrid:
    """Pixels of an image in the image of full resolution, without a look at any of them.

    Raises:
        DataError: The file is missing, broken, or of a kind that is not supported.
    """
    file, _ = split_place(path)
    is_tiled = file.is_dir() or split_suffix(file.name)[1].lower() in SLIDE_SUFFIXES
    return open_image(path).grid if is_tiled or kind_of(read_head(file)) == "TIFF" else LevelGrid()


def _open_level(file: Path, place: Place, *, is_slide: bool) -> LazySource:
    """A level of a TIFF or of a slide of another kind."""
    if {*place} - {"level"} or len(place.get("level", (0,))) > 1:
        raise UnusableImageError(f"is a slide; name a level of it: {file.name}#level=0")
    level = place.get("level", (0,))[0]
    if is_slide:
        return SlideImage(file, level)
    try:
        return TiffImage(file, level)
    except UnusableKindError:  # Aperio's JPEG 2000, say
        if not is_scanned(file):
            raise
        return SlideImage(file, level)


_DECODERS: Mapping[str, Callable[[bytes], Raster]] = {
    "PNG": decode_png,
    "JPEG": decode_jpeg,
    "BMP": decode_bmp,
    "GIF": decode_gif,
    "WebP": decode_webp,
    "JPEG 2000": decode_jpeg2000,
}


def _decode(file: Path, place: Place, head: bytes) -> Raster:
    kind = kind_of(head)
    if kind is None:
        expected = "PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000, DICOM or NIfTI"
        raise UnusableImageError(f"is not a {expected} file (begins {head[:8]!r})" if head else "is empty")
    index = place[INDEX][0] if INDEX in place else None
    if kind not in ("DICOM", "NIfTI") and place:
        what = f"names a slice, and {file.name} is a {kind} file without slices; leave out"
        raise UnusableImageError(f"{what} #{written(place)}")
    if {*place} - {INDEX}:
        raise UnusableImageError(f"names axes, and {file.name} is a {kind} file; name a slice by its number alone: #0")
    if kind == "DICOM":
        return read_dicom(file, index)
    if kind == "NIfTI":
        return read_nifti(file, index)
    return _DECODERS[kind](read_bytes(file))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except UnusableImageError as reason:
        raise DataError(f"{path} {reason}") from reason
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_image(path: Path, window: IntensityWindow | None = None) -> UInt8[np.ndarray, "y x 3"]:
    """Read a whole image as RGB in 0..255, as `open_image` says.

    Raises:
        DataError: The file is missing, truncated, of a kind that is not supported, over the limit of pixels, or needs
            a window and has none.
        ConfigError: The window is empty (hi not above lo).
    """
    return open_image(path, window).read_whole()


def read_mask(path: Path, content: MaskContent = "values") -> Integer[np.ndarray, "y x"]:
    """Read a whole mask's values, as `open_mask` says.

    Raises:
        DataError: The file is missing, truncated, of a kind that is not supported, over the limit of pixels, in
            colour, not of whole numbers, or with its shape in its alpha.
    """
    return open_mask(path, content).read_whole()
