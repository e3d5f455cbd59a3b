"""Label Studio's exports: its JSON, and its folders of PNG or NumPy masks.

Outlines are in percent of the image.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ....errors import DataError
from ..annotations import (
    Annotations,
    ImageNames,
    OutlinedImage,
    Size,
    check_drawn_on,
    match_images,
    number_classes,
)
from .brushes import brush
from .drawing import Annotation, Shape
from .json_files import listed, number_of, text_of, whole_number
from .painted_files import PaintedFile
from .polygons import Polygons, ellipse, rectangle, ring_of

TOOL = "Label Studio"
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
MASK_NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-[\w@.]*-[^-]+-(?P<label>.+)-\d+\.(png|npy)"
)
_TYPES = ("brush", "polygon", "rectangle", "ellipse")
_UNREAD_AREAS = ("bitmask", "bitmasklabels", "vector", "vectorlabels")
_IMAGE_KEYS = ("image", "img", "ocr")


def is_label_studio(content: object) -> bool:
    """Whether a JSON file's content is a list of tasks."""
    return isinstance(content, list) and any(
        isinstance(task, dict) and isinstance(task.get("data"), dict) and "annotations" in task for task in content
    )


def read_label_studio(
    content: Any,  # noqa: ANN401
    names: ImageNames,
    declared: Mapping[int, str] | None = None,
) -> Annotations:
    """Read the content of an export as JSON.

    A task with several annotations (of several people, say) is left out, since theirs cannot be mixed unasked, and so
    is one that nobody annotated.
    """
    entries, left_out, found = [], [], set()
    for task in listed({"tasks": content}, "tasks"):
        name = image_name(task, names)
        finished = [one for one in listed(task, "annotations") if not one.get("was_cancelled")]
        if len(finished) != 1:
            left_out.append(f"{name}: task {text_of(task.get('id'), '?')} {_why_not_one(finished)}")
            continue
        results = listed(finished[0], "result")
        found |= {label for result in results if (label := _label_of(result)) and _kind_of(result) in _TYPES}
        left_out += [f"{name}: {line}" for line in _unused(results)]
        entries.append((name, partial(_annotated, results)))
    images, unusable = match_images(entries, names)
    return Annotations(TOOL, number_classes(sorted(found), declared), images, (*left_out, *unusable))


def _why_not_one(finished: Sequence[Mapping[str, Any]]) -> str:
    if not finished:
        return "has no annotation, or only skipped ones"
    by = ", ".join(_person(one.get("completed_by")) for one in finished)
    return f"has {len(finished)} annotations, by {by}; keep one in the export"


def _person(value: object) -> str:
    return text_of(value.get("email") or value.get("id"), "?") if isinstance(value, dict) else text_of(value, "?")


def image_name(task: Mapping[str, Any], names: ImageNames | None = None) -> str:
    """Name of a task's image; uploads have eight digits and a hyphen before it, local files a query of the path."""
    data = task.get("data")
    urls = [text_of(value) for key, value in data.items() if key in _IMAGE_KEYS] if isinstance(data, dict) else []
    urls += [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    if not urls:
        return f"task {text_of(task.get('id'), '?')}"
    try:
        parts = urlsplit(urls[0])
    except ValueError:  # a bracket that is no address
        return urls[0]
    name = parse_qs(parts.query).get("d", [parts.path])[0]
    folder, slash, file = name.rpartition("/")
    original = folder + slash + _UPLOAD_PREFIX.sub("", file, count=1)
    return name if names is not None and names.has(name) else original


def _kind_of(result: Mapping[str, Any]) -> str:
    """`brush`, `polygon`, `rectangle` or `ellipse`; else what the export calls it."""
    kind = text_of(result.get("type"))
    value = result.get("value")
    if kind == "labels" and isinstance(value, dict):  # a label on a shape of another tag
        keys = {"rle": "brush", "points": "polygon", "radiusX": "ellipse", "width": "rectangle"}
        return next((shape for key, shape in keys.items() if key in value), kind)
    return kind.removesuffix("labels") if kind.removesuffix("labels") in _TYPES else kind


def _label_of(result: Mapping[str, Any]) -> str:
    """The class; "" for none."""
    value = result.get("value")
    labels = value.get(text_of(result.get("type"))) if isinstance(value, dict) else None
    return ", ".join(map(text_of, labels)) if isinstance(labels, list) else ""


def _unused(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines on what covers no area or has no class."""
    labelled = {text_of(result.get("id")) for result in results if _label_of(result)}
    other = Counter(kind for result in results if (kind := _kind_of(result)) not in (*_TYPES, *_UNREAD_AREAS))
    unnamed = sum(
        not _label_of(result) and text_of(result.get("id")) not in labelled
        for result in results
        if _kind_of(result) in _TYPES
    )
    yield from (f"{n} results of the kind {kind!r} are left out" for kind, n in sorted(other.items()))
    if unnamed:
        yield f"{unnamed} areas have no label and are left out"


def _annotated(results: Sequence[Mapping[str, Any]], size: Size) -> OutlinedImage:
    annotations = []
    for result in results:
        if _kind_of(result) in _UNREAD_AREAS:
            raise DataError(f"areas of the kind {_kind_of(result)!r} are not read, and the mask would lack them")
        label = _label_of(result)
        if not label or _kind_of(result) not in _TYPES:
            continue
        try:
            annotations.append(Annotation(label, _shape_of(result, size)))
        except DataError as error:
            raise DataError(f"result {text_of(result.get('id'), '?')}: {error}") from error
    return OutlinedImage(size, tuple(annotations))


def _shape_of(result: Mapping[str, Any], size: Size) -> Shape:
    drawn_on = [whole_number(result.get(f"original_{side}"), f"original_{side}") for side in ("height", "width")]
    check_drawn_on((drawn_on[0], drawn_on[1]), size)
    if result.get("image_rotation"):
        raise DataError(f"the image was turned by {result['image_rotation']} degrees when it was drawn on")
    value = result.get("value")
    assert isinstance(value, dict)
    kind = _kind_of(result)
    if kind == "brush":
        return brush(value, size)
    return Polygons(((_outline(kind, value, size),),))


def _outline(kind: str, value: Mapping[str, Any], size: Size) -> np.ndarray:
    scale_x, scale_y = size[1] / 100, size[0] / 100
    if kind == "polygon":
        return ring_of(value.get("points")) * (scale_x, scale_y)
    keys = ("x", "y", *(("width", "height") if kind == "rectangle" else ("radiusX", "radiusY")))
    x, y, along_x, along_y = (number_of(value.get(key), key) for key in keys)
    shape = rectangle if kind == "rectangle" else ellipse
    degrees = number_of(value.get("rotation") or 0, "rotation")
    return shape(x * scale_x, y * scale_y, along_x * scale_x, along_y * scale_y, degrees)


def read_mask_folder(
    files: Sequence[Path],
    tasks: Mapping[int, str],
    names: ImageNames,
    declared: Mapping[int, str] | None = None,
) -> Annotations:
    """Read the PNG or NumPy files of an export, `task-1-annotation-2-by-1-tag-NAME-0.png`.

    Args:
        files: of such names.
        tasks: number of a task → name of its image, from the export as JSON; others are sought as `task-1`.
        names: the images.
        declared: class value → name; `None`: 1, 2, ... in the order of the names.
    """
    of_task: dict[int, dict[int, list[tuple[str, Path]]]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        if match := MASK_NAME.fullmatch(path.name):
            of_task[int(match["task"])][int(match["annotation"])].append((match["label"], path))
    entries, left_out, found = [], [], set()
    for task, of_annotation in sorted(of_task.items()):
        name = tasks.get(task, f"task-{task}")
        if len(of_annotation) > 1:
            left_out.append(f"{name}: has {len(of_annotation)} annotations; keep the files of one")
            continue
        (layers,) = of_annotation.values()
        found |= {label for label, _ in layers}
        entries.append((name, partial(_layered, layers)))
    images, unusable = match_images(entries, names)
    return Annotations(TOOL, number_classes(sorted(found), declared), images, (*left_out, *unusable))


def _layered(layers: Sequence[tuple[str, Path]], size: Size) -> OutlinedImage:
    return OutlinedImage(size, tuple(Annotation(label, PaintedFile(path)) for label, path in layers))
