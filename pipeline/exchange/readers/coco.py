"""COCO's JSON of objects, with polygons or run lengths.

The id of a category is the class's value in masks, where it can be: 1 to 255.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ....errors import DataError
from ..annotations import (
    BACKGROUND,
    Annotations,
    ImageNames,
    OutlinedImage,
    Size,
    check_drawn_on,
    match_images,
    number_classes,
)
from ..run_lengths import unpack
from .drawing import Annotation, Shape
from .json_files import listed, text_of, whole_number
from .polygons import Polygons, ring_of
from .runs import Runs, runs_of


def is_coco(content: object) -> bool:
    """Whether a JSON file's content is COCO's."""
    return isinstance(content, dict) and {"images", "annotations"} <= set(content)


def read_coco(contents: Sequence[Any], names: ImageNames, declared: Mapping[int, str] | None = None) -> Annotations:
    """Read the contents of one or several files of objects: polygons, run lengths, crowds.

    An image with an object that has no area (a box alone), or a broken one, is left out, since its mask would lack it.

    Raises:
        DataError: There are more classes than values, or files use one id for different categories.
    """
    categories: dict[str, str] = {}
    entries = []
    used = set()
    for content in contents:
        own = {text_of(entry.get("id")): text_of(entry.get("name")) for entry in listed(content, "categories")}
        clash = sorted(key for key in own if categories.get(key, own[key]) != own[key])
        if clash:
            raise DataError(
                f"files name category {clash[0]} {categories[clash[0]]!r} and {own[clash[0]]!r}; give one file"
            )
        categories |= own
        of_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for entry in listed(content, "annotations"):
            of_image[text_of(entry.get("image_id"))].append(entry)
            used.add(text_of(entry.get("category_id")))
        for image in listed(content, "images"):
            name = text_of(image.get("file_name"), "an image without file_name")
            entries.append((name, partial(_annotated, image, of_image[text_of(image.get("id"))], own)))
    images, left_out = match_images(entries, names)
    return Annotations("COCO", _classes(categories, used, declared), images, tuple(left_out))


def _classes(categories: Mapping[str, str], used: set[str], declared: Mapping[int, str] | None) -> Mapping[int, str]:
    """Names by id, where ids are values that an 8-bit mask can hold; else numbered in the order of the ids."""
    # Roboflow's category 0 names the data set, and no object has it.
    kept = {key: name for key, name in categories.items() if key != "0" or key in used}
    by_id = {int(key): name for key, name in kept.items() if key.isdecimal() and 1 <= int(key) <= 255}
    in_order = [kept[key] for key in sorted(kept, key=lambda key: (len(key), key))]
    if declared is None and len(by_id) == len(kept) == len({BACKGROUND, *in_order}) - 1:
        return {0: BACKGROUND, **dict(sorted(by_id.items()))}
    return number_classes(in_order, declared)


def _annotated(
    image: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], categories: Mapping[str, str], size: Size
) -> OutlinedImage:
    if image.get("height") is not None and image.get("width") is not None:
        check_drawn_on((whole_number(image["height"], "height"), whole_number(image["width"], "width")), size)
    return OutlinedImage(size, tuple(_annotations_of(entries, categories, size)))


def _annotations_of(
    entries: Sequence[Mapping[str, Any]], categories: Mapping[str, str], size: Size
) -> Iterator[Annotation]:
    for entry in entries:
        about = f"annotation {text_of(entry.get('id'), '?')}"
        category = text_of(entry.get("category_id"))
        if category not in categories:
            raise DataError(f"{about} is of category {category!r}, which the file does not name")
        try:
            yield Annotation(categories[category], _shape_of(entry.get("segmentation"), size))
        except DataError as error:
            raise DataError(f"{about}: {error}") from error


def _shape_of(segmentation: object, size: Size) -> Shape:
    if isinstance(segmentation, dict):
        return _runs_of(segmentation, size)
    if isinstance(segmentation, list) and segmentation:
        flat = [part if isinstance(part, list) else [] for part in segmentation]
        return Polygons(tuple((ring_of([*zip(part[::2], part[1::2], strict=True)]),) for part in map(_even, flat)))
    raise DataError("has no segmentation, only a box at most")


def _even(part: list[object]) -> list[object]:
    if len(part) % 2 or len(part) < 6:
        raise DataError(f"a polygon has {len(part)} numbers; expected x, y of three or more corners")
    return part


def _runs_of(segmentation: Mapping[str, Any], size: Size) -> Runs:
    if segmentation.get("size") != [*size]:
        raise DataError(f"its runs are of {segmentation.get('size')} pixels; the image has {[*size]}")
    counts = segmentation.get("counts")
    return runs_of(unpack(counts) if isinstance(counts, str) else counts, (0, 0, *size), by_columns=True)
