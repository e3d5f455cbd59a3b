"""CVAT's "for images 1.1": one XML file of polygons, boxes, ellipses and masks, with layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from ....errors import DataError
from ...image_files.paths import read_bytes
from ..annotations import (
    Annotations,
    Colour,
    ImageNames,
    OutlinedImage,
    Size,
    check_drawn_on,
    match_images,
    number_classes,
)
from .drawing import Annotation, Shape
from .polygons import Polygons, ellipse, rectangle, ring_of
from .runs import runs_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 2**28
_NO_AREAS = ("points", "polyline", "tag", "cuboid", "skeleton", "attribute")


def read_cvat(path: Path, names: ImageNames, declared: Mapping[int, str] | None = None) -> Annotations:
    """Read an `annotations.xml`.

    An image with a broken annotation is left out, since its mask would lack it. Layers are CVAT's `z_order`.

    Raises:
        DataError: The file is not CVAT's XML for images.
    """
    root = _parsed(path)
    if root.tag != "annotations" or root.find("track") is not None:
        raise DataError(
            f"{path} is not CVAT's XML for images (it is <{root.tag[:40]}>, or of a video); export it as that"
        )
    labels = {name: _colour(label.findtext("color") or "") for label in root.iter("label") if (name := _name(label))}
    found = [one.get("label", "") for image in root.iter("image") for one in image if one.tag in _SHAPES]
    entries = [(image.get("name", "an image without name"), partial(_annotated, image)) for image in root.iter("image")]
    remarks = [f"{image.get('name')}: {line}" for image in root.iter("image") for line in _unused(image)]
    images, left_out = match_images(entries, names)
    classes = number_classes([*labels, *sorted({*found} - {*labels})], declared)
    colours = {value: colour for value, name in classes.items() if (colour := labels.get(name)) is not None}
    return Annotations("CVAT", classes, images, (*left_out, *remarks), colours)


def _parsed(path: Path) -> Element:
    try:
        root: Element = fromstring(read_bytes(path, MAX_BYTES))
    except DefusedXmlException as error:
        raise DataError(f"{path} declares entities or external files, which are never read") from error
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not XML ({str(error)[:200]})") from error
    return root


def _name(label: Element) -> str:
    return label.findtext("name") or ""


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = bytes.fromhex(text.strip().removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue


def _unused(image: Element) -> Iterator[str]:
    for kind, n in sorted(Counter(one.tag for one in image if one.tag not in _SHAPES).items()):
        what = "cover no area" if kind in _NO_AREAS else "are not known"
        yield f"{n} annotations of the kind {kind[:40]!r} {what} and are left out"


def _annotated(image: Element, size: Size) -> OutlinedImage:
    check_drawn_on((_whole(image, "height"), _whole(image, "width")), size)
    annotations = []
    for number, one in enumerate(image, start=1):
        if one.tag in _SHAPES:
            try:
                layer = _whole(one, "z_order") if one.get("z_order") else 0
                annotations.append(Annotation(one.get("label", ""), _SHAPES[one.tag](one), layer))
            except DataError as error:
                raise DataError(f"annotation {number}, a {one.tag}: {error}") from error
    return OutlinedImage(size, tuple(annotations))


def _number(element: Element, key: str) -> float:
    try:
        number = float(element.get(key, ""))
    except ValueError as error:
        raise DataError(f"{key} is {element.get(key, '')[:40]!r}, not a number") from error
    if not abs(number) < 1e15:
        raise DataError(f"{key} is {number}")
    return number


def _whole(element: Element, key: str) -> int:
    number = _number(element, key)
    if number != int(number):
        raise DataError(f"{key} is {number}, not a whole number")
    return int(number)


def _turned(element: Element) -> float:
    return _number(element, "rotation") if element.get("rotation") else 0.0


def _polygon(element: Element) -> Shape:
    points = [point.split(",") for point in element.get("points", "").split(";")]
    return Polygons(((ring_of(points),),))


def _box(element: Element) -> Shape:
    """CVAT turns boxes about their centres."""
    left, top, right, bottom = (_number(element, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    pivot = ((left + right) / 2, (top + bottom) / 2)
    return Polygons(((rectangle(left, top, right - left, bottom - top, _turned(element), pivot=pivot),),))


def _ellipse(element: Element) -> Shape:
    x, y, radius_x, radius_y = (_number(element, key) for key in ("cx", "cy", "rx", "ry"))
    return Polygons(((ellipse(x, y, radius_x, radius_y, _turned(element)),),))


def _mask(element: Element) -> Shape:
    counts = element.get("rle", "").replace(",", " ").split()
    if not all(count.isdecimal() and len(count) < 12 for count in counts):
        raise DataError("lengths of runs are not whole numbers")
    top, left, height, width = (_whole(element, key) for key in ("top", "left", "height", "width"))
    return runs_of([*map(int, counts)], (top, left, height, width), by_columns=False)


_SHAPES = {"polygon": _polygon, "box": _box, "ellipse": _ellipse, "mask": _mask}
