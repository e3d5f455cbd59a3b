"""Annotations from another tool's export: for each image a mask of class values, drawn when it is asked for.

Every reader of this room returns `Annotations`; `importing.read_annotations` finds the reader.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from ...errors import DataError
from ..image_files.paths import split_suffix
from ..image_files.raster import MAX_PIXELS
from .readers.drawing import Annotation, DrawnMask, draw_classes, draw_objects

BACKGROUND = "background"
MAX_CLASSES = 2**16 - 1
Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
Size = tuple[int, int]
"""Height and width in pixels."""


class AnnotatedImage(Protocol):
    """Annotations of one image."""

    def draw(self, values: Mapping[str, int]) -> DrawnMask:
        """The mask of class values."""

    def draw_objects(self) -> DrawnMask:
        """The mask of object numbers, 1, 2, ... in the order of the export."""


class OutlinedImage(NamedTuple):
    """An image with outlines or painted areas."""

    size: Size
    annotations: tuple[Annotation, ...]

    def draw(self, values: Mapping[str, int]) -> DrawnMask:
        """The mask of class values."""
        drawn = draw_classes(self.annotations, self.size, values)
        return drawn if self.annotations else DrawnMask(drawn.mask, ("nothing is drawn; all is background",))

    def draw_objects(self) -> DrawnMask:
        """The mask of object numbers."""
        return draw_objects(self.annotations, self.size)


@dataclass(frozen=True)
class Annotations:
    """An export, read and checked; masks are drawn one at a time."""

    tool: str
    """Format that was recognised."""
    classes: Mapping[int, str]
    """Value in the masks → name; the lowest is the background."""
    images: Mapping[str, AnnotatedImage]
    """Name of an image, as the caller knows it → its annotations."""
    left_out: tuple[str, ...] = ()
    """Parts that were not used, by name, and why: one line each."""
    colours: Mapping[int, Colour] = field(default_factory=dict)
    """Value in the masks → colour, where the export has one."""

    def draw(self, name: str) -> DrawnMask:
        """The mask of an image: uint8, or uint16 where a value is above 255; pixels that nobody drew on are background.

        Raises:
            KeyError: The export has no annotations of the image.
            DataError: They cannot be drawn.
        """
        values = {class_name: value for value, class_name in self.classes.items()}
        return _named(name, partial(self.images[name].draw, values))

    def draw_objects(self, name: str) -> DrawnMask:
        """Numbered objects of an image: uint16, or uint32 where there are more than 65,535; 0 is the background.

        Raises:
            KeyError: The export has no annotations of the image.
            DataError: They cannot be drawn.
        """
        return _named(name, self.images[name].draw_objects)


def _named(name: str, draw: Callable[[], DrawnMask]) -> DrawnMask:
    try:
        drawn = draw()
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return DrawnMask(drawn.mask, tuple(f"{name}: {remark}" for remark in drawn.remarks))


def number_classes(names: Iterable[str], declared: Mapping[int, str] | None = None) -> dict[int, str]:
    """Value → name: the declared values, or 1, 2, ... in the order of the names and 0 for the background.

    Raises:
        DataError: There are more classes than values.
    """
    if declared is not None:
        return {**declared}
    named = [name for name in dict.fromkeys(names) if name.strip().casefold() != BACKGROUND]
    if len(named) > MAX_CLASSES:
        raise DataError(f"the export has {len(named)} classes; at most {MAX_CLASSES} are possible")
    background = next((name for name in names if name.strip().casefold() == BACKGROUND), BACKGROUND)
    return {0: background, **dict(enumerate(named, start=1))}


class ImageNames:
    """The caller's images, to be found by the names that a tool has for them."""

    def __init__(self, sizes: Mapping[str, Size]) -> None:
        """Of images by name, with height and width."""
        self._sizes = sizes
        self._by_file: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in sizes:
            file = _parts(name)[-1]
            self._by_file.setdefault(file, []).append(name)
            self._by_stem.setdefault(split_suffix(file)[0], []).append(name)

    def has(self, name: str) -> bool:
        """Whether an image has this file name, its suffix aside."""
        file = _parts(name)[-1]
        return file in self._by_file or split_suffix(file)[0] in self._by_stem

    def find(self, name: str) -> str:
        """The image that a name means: of the same path, or as much of its end as decides; suffixes may differ.

        Raises:
            DataError: No image, or several, have the name.
        """
        parts = _parts(name)
        files = self._by_file.get(parts[-1]) or self._by_stem.get(split_suffix(parts[-1])[0], [])
        shared = {file: _n_shared(parts[:-1], _parts(file)[:-1]) for file in files}
        best = [file for file in files if shared[file] == max(shared.values())]
        if len(best) != 1:
            raise DataError(f"fits {len(best)} images: {', '.join(best[:3])}" if best else "no image has this name")
        return best[0]

    def size_of(self, name: str) -> Size:
        """Height and width of an image."""
        return self._sizes[name]


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file of a path or URL, composed (NFC)."""
    path = unquote(unicodedata.normalize("NFC", name)).replace("\\", "/")
    return tuple(unicodedata.normalize("NFC", part) for part in PurePosixPath(path).parts) or ("",)


def _n_shared(parts: tuple[str, ...], others: tuple[str, ...]) -> int:
    """How many folders, from the last one up, are the same."""
    pairs = zip(reversed(parts), reversed(others), strict=False)
    return len([*takewhile(lambda pair: pair[0] == pair[1], pairs)])


def match_images(
    entries: Iterable[tuple[str, Callable[[Size], AnnotatedImage]]], names: ImageNames
) -> tuple[dict[str, AnnotatedImage], list[str]]:
    """The caller's images with their annotations, and a line for each image of the export that is left out.

    Args:
        entries: the export's name of an image, and a function that makes its annotations for the image's size.
        names: the caller's images.
    """
    images: dict[str, AnnotatedImage] = {}
    left_out, twice = [], set()
    for name, annotated in entries:
        try:
            image = names.find(name)
            twice |= {image} & set(images)
            images[image] = annotated(_checked(names.size_of(image)))
        except DataError as error:
            left_out.append(f"{name}: {error}")
    for image in sorted(twice & set(images)):
        del images[image]
        left_out.append(f"{image}: the export has it more than once; keep one")
    return images, left_out


def _checked(size: Size) -> Size:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"has {size[0]} x {size[1]} pixels, over the limit of {MAX_PIXELS}; cut it into fields")
    return size


def check_drawn_on(drawn_on: Size, size: Size) -> None:
    """Refuse annotations of an image of another size.

    Raises:
        DataError: The sizes differ.
    """
    if drawn_on != size:
        raise DataError(f"drawn on {drawn_on[0]} x {drawn_on[1]} pixels; the image has {size[0]} x {size[1]}")
