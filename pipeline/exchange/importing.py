"""Annotations from any export that there is a reader for, recognised by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..image_files.paths import read_head
from .annotations import Annotations, ImageNames, Size
from .readers.coco import is_coco, read_coco
from .readers.colour_masks import CLASS_FOLDER, LABELMAP, read_colour_masks
from .readers.cvat import read_cvat
from .readers.geojson import is_geojson, read_geojson
from .readers.json_files import listed, read_json
from .readers.label_studio import MASK_NAME, image_name, is_label_studio, read_label_studio, read_mask_folder

EXPECTED = (
    "expected COCO's JSON, QuPath's GeoJSON, Label Studio's JSON (not JSON-MIN) or its PNG or NumPy masks, CVAT's XML "
    "for images 1.1 or its segmentation mask 1.1"
)
_JSON_SUFFIXES = (".json", ".geojson")
_KINDS = {"GeoJSON": is_geojson, "COCO": is_coco, "Label Studio": is_label_studio}


def read_annotations(path: Path, sizes: Mapping[str, Size], classes: Mapping[int, str] | None = None) -> Annotations:
    """Read an export of another tool: a file, or the folder that its archive unpacks to.

    Args:
        path: the file or folder.
        sizes: the images: name or path, as the caller knows them, → (height, width).
        classes: class value → name, the background included; `None`: as the export has or orders them.

    Raises:
        DataError: Nothing there is an export that can be read.
    """
    names = ImageNames(sizes)
    if path.is_dir():
        return _read_folder(path, names, classes)
    head = read_head(path).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{path} is an archive; unpack it and give the folder")
    if head.startswith(b"<"):
        return read_cvat(path, names, classes)
    return _read_jsons(path, [path], names, classes)


def is_export(path: Path) -> bool:
    """Whether `read_annotations` is for this path, rather than that it is a folder of plain masks."""
    if path.is_dir():
        return (path / LABELMAP).is_file() or any(
            file.suffix.lower() in (*_JSON_SUFFIXES, ".xml") or MASK_NAME.fullmatch(file.name)
            for folder in (path, path / "annotations")
            if folder.is_dir()
            for file in folder.iterdir()
        )
    return path.suffix.lower() in (*_JSON_SUFFIXES, ".xml", ".zip")


def _read_folder(path: Path, names: ImageNames, classes: Mapping[int, str] | None) -> Annotations:
    if (path / LABELMAP).is_file() and (path / CLASS_FOLDER).is_dir():
        return read_colour_masks(path, names, classes)
    files = sorted(path.iterdir())
    tables = [file for file in files if file.suffix.lower() == ".xml"]
    jsons = [file for file in files if file.suffix.lower() in _JSON_SUFFIXES]
    masks = [file for file in files if MASK_NAME.fullmatch(file.name)]
    if masks:
        return read_mask_folder(masks, _names_of_tasks(jsons), names, classes)
    if len(tables) == 1 and not jsons:
        return read_cvat(tables[0], names, classes)
    if not tables and jsons:
        return _read_jsons(path, jsons, names, classes)
    if not tables and (path / "annotations").is_dir():  # COCO's own layout, and CVAT's of it
        return _read_folder(path / "annotations", names, classes)
    raise DataError(f"{path} holds {'several exports' if tables else 'no export'}; {EXPECTED}")


def _names_of_tasks(jsons: list[Path]) -> dict[int, str]:
    """Number of each task of Label Studio → name of its image, from an export as JSON that lies beside the masks."""
    contents = [content for path in jsons if is_label_studio(content := read_json(path))]
    tasks = [task for content in contents for task in listed({"tasks": content}, "tasks")]
    return {task["id"]: image_name(task) for task in tasks if isinstance(task.get("id"), int)}


def _read_jsons(path: Path, files: list[Path], names: ImageNames, classes: Mapping[int, str] | None) -> Annotations:
    contents: dict[str, dict[Path, Any]] = {kind: {} for kind in _KINDS}
    others = []
    for file in files:
        content = read_json(file)
        kind = next((kind for kind, recognises in _KINDS.items() if recognises(content)), None)
        if kind is None:
            others.append(f"{file.name}: is of no known format")
        else:
            contents[kind][file] = content
    kinds = [kind for kind in _KINDS if contents[kind]]
    if len(kinds) != 1:
        found = f"holds {' and '.join(kinds)}" if kinds else "is of no known format"
        raise DataError(f"{path} {found}; {EXPECTED}")
    annotations = _read_kind(kinds[0], contents[kinds[0]], names, classes)
    return replace(annotations, left_out=(*annotations.left_out, *others))


def _read_kind(
    kind: str, contents: Mapping[Path, Any], names: ImageNames, classes: Mapping[int, str] | None
) -> Annotations:
    if kind == "GeoJSON":
        # `slide.svs.geojson` or `slide.geojson`: the image is named by the file alone.
        of_image = {file.name[: -len(file.suffix)]: content for file, content in contents.items()}
        return read_geojson(of_image, names, classes)
    if kind == "COCO":
        return read_coco([*contents.values()], names, classes)
    if len(contents) > 1:
        raise DataError(f"there are several exports of {kind}: {', '.join(file.name for file in contents)}; give one")
    (content,) = contents.values()
    return read_label_studio(content, names, classes)
