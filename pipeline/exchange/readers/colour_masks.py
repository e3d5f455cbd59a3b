"""Folders of coloured masks with the meaning of colours beside them: CVAT's "Segmentation mask 1.1", Pascal VOC's.

`labelmap.txt` names a colour on each line (`label:red,green,blue:parts:actions`); `SegmentationClass` holds the
classes of each image, `SegmentationObject` its objects in colours of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ....errors import DataError
from ...image_files.paths import read_bytes
from ...image_files.reading import read_image
from ..annotations import (
    BACKGROUND,
    Annotations,
    Colour,
    ImageNames,
    Size,
    check_drawn_on,
    match_images,
    number_classes,
)
from .drawing import DrawnMask, blank

LABELMAP = "labelmap.txt"
CLASS_FOLDER, OBJECT_FOLDER = "SegmentationClass", "SegmentationObject"
MAX_BYTES = 2**20


class ColouredImage:
    """An image's masks, read when they are drawn."""

    def __init__(self, path: Path, objects: Path, colours: Mapping[str, Colour], size: Size) -> None:
        """Of two files and the classes' colours."""
        self._path, self._objects, self._size = path, objects, size
        self._codes = {name: _code(np.array(colour)).item() for name, colour in colours.items()}

    def draw(self, values: Mapping[str, int]) -> DrawnMask:
        """The mask of class values.

        Raises:
            DataError: The mask cannot be read, is of another size, or has a colour that no class has.
        """
        codes = self._read(self._path)
        mask = blank(self._size, values)
        strange = sorted({*np.unique(codes).tolist()} - {*self._codes.values(), 0})
        if strange:
            shown = ", ".join(str((code >> 16, code >> 8 & 255, code & 255)) for code in strange[:5])
            raise DataError(f"{self._path} has {len(strange)} colours that {LABELMAP} does not name: {shown}")
        unknown = []
        for name, code in self._codes.items():
            found = codes == code
            if name in values:
                mask[found] = values[name]
            elif name != BACKGROUND and found.any():
                unknown.append(f"pixels of the class {name!r} are left out; it is not declared")
        return DrawnMask(mask, tuple(unknown))

    def draw_objects(self) -> DrawnMask:
        """The mask of object numbers, in order of the objects' colours.

        Raises:
            DataError: There are no masks of objects, or they cannot be read.
        """
        if not self._objects.is_file():
            raise DataError(f"{self._objects} is missing; export the masks of objects too")
        colours, numbers = np.unique(self._read(self._objects), return_inverse=True)
        numbers = numbers.reshape(self._size) + (0 if colours[0] == 0 else 1)
        return DrawnMask(numbers.astype(np.uint16 if len(colours) < 2**16 else np.uint32))

    def _read(self, path: Path) -> Int[np.ndarray, "y x"]:
        pixels = read_image(path)
        check_drawn_on((pixels.shape[0], pixels.shape[1]), self._size)
        return _code(pixels)


def _code(colours: np.ndarray) -> Int[np.ndarray, "*pixel"]:
    """One number for red, green and blue."""
    code: np.ndarray = colours.astype(np.int64) @ np.array([65536, 256, 1])
    return code


def read_colour_masks(folder: Path, names: ImageNames, declared: Mapping[int, str] | None = None) -> Annotations:
    """Read a folder with `labelmap.txt` and `SegmentationClass`.

    Raises:
        DataError: `labelmap.txt` is malformed.
    """
    colours = _read_labelmap(folder / LABELMAP)
    of_classes, of_objects = folder / CLASS_FOLDER, folder / OBJECT_FOLDER
    entries = []
    for path in sorted(of_classes.rglob("*.png")):
        name = path.relative_to(of_classes)
        entries.append((str(name), partial(ColouredImage, path, of_objects / name, colours)))
    images, left_out = match_images(entries, names)
    classes = number_classes(colours, declared)
    shown = {value: colours[name] for value, name in classes.items() if name in colours}
    return Annotations("CVAT's segmentation mask", classes, images, tuple(left_out), shown)


def _read_labelmap(path: Path) -> dict[str, Colour]:
    lines = read_bytes(path, MAX_BYTES).decode("utf-8-sig", "replace").splitlines()
    colours: dict[str, Colour] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition(":")
        values = [part.strip() for part in rest.partition(":")[0].split(",")]
        if not line.strip() or line.startswith("#"):
            continue
        if (
            len(values) != 3
            or not all(value.isdecimal() and int(value[:9]) < 256 for value in values)
            or name in colours
        ):
            problems.append(f"line {number}: {line[:80]!r}")
            continue
        colours[name] = (int(values[0]), int(values[1]), int(values[2]))
    twice = len({*colours.values()}) != len(colours)
    if problems or twice or not colours:
        expected = "expected a line `label:red,green,blue::` for each class, each with a colour of its own"
        raise DataError(f"{path} is no table of classes and colours; {expected}", problems)
    return {BACKGROUND if name.casefold() == BACKGROUND else name: colour for name, colour in colours.items()}
