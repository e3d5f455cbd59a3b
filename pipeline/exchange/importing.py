"""Annotations from any export that there is a reader for, recognised by content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from .annotations import Annotations, ImageNames, Size
from .coco import is_coco, read_coco
from .geojson import is_geojson, read_geojson
from .json_files import read_json

EXPECTED = "expected COCO's JSON, or GeoJSON of QuPath, a file for each image"
_JSON_SUFFIXES = (".json", ".geojson")


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
    if not path.is_file():
        raise DataError(f"{path} does not exist; {EXPECTED}")
    return _read_json(path, {_image_of(path): read_json(path)}, names, classes)


def _read_folder(path: Path, names: ImageNames, classes: Mapping[int, str] | None) -> Annotations:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _JSON_SUFFIXES)
    contents = {_image_of(file): read_json(file) for file in files}
    if not contents:
        raise DataError(f"{path} holds no export; {EXPECTED}")
    return _read_json(path, contents, names, classes)


def _image_of(path: Path) -> str:
    """The image that a GeoJSON file belongs to: `slide.svs.geojson` or `slide.geojson`."""
    return path.name[: -len(path.suffix)] if path.suffix else path.name


def _read_json(
    path: Path, contents: Mapping[str, Any], names: ImageNames, classes: Mapping[int, str] | None
) -> Annotations:
    if all(map(is_geojson, contents.values())):
        return read_geojson(contents, names, classes)
    of_coco = [content for content in contents.values() if is_coco(content)]
    if len(of_coco) == len(contents) == 1:
        return read_coco(of_coco[0], names, classes)
    if len(contents) > 1:
        raise DataError(f"{path} holds several JSON files that are not all GeoJSON; give the one that is the export")
    raise DataError(f"{path} is of no known format; {EXPECTED}")
