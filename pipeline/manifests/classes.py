"""Classes that a layout declares: textdiff's own `classes.json`, nnU-Net's `dataset.json`, or an export's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...cache.storage.atomic import parse_json
from ...errors import DataError
from ..config.data import ManifestConfig
from ..data.classes import CLASSES_FILE, MAX_BYTES, Classes, read_classes
from ..image_files.paths import read_bytes
from .listing import FileListing

DATASET_FILE = "dataset.json"
"""nnU-Net's description of its data."""


def declared_classes(listing: FileListing, config: ManifestConfig, drawn: Mapping[int, str] | None) -> Classes | None:
    """The classes of the masks; `None` where nothing declares them, and masks are binary.

    Raises:
        DataError: A declaration is malformed.
    """
    if drawn is not None:
        return Classes.from_dict({"classes": {str(value): name for value, name in drawn.items()}})
    folders = [config.images, *([config.masks] if config.masks and config.masks.is_dir() else [])]
    for folder in folders:
        if classes := read_classes(folder):
            return classes
    for path in [folder / DATASET_FILE for folder in (config.images, config.images.resolve().parent)]:
        if path.is_file() and any(
            "labels" in name.lower() for one in listing.masks for name in (one.path.parent.name,)
        ):
            return _of_nnunet(path)
    return None


def _of_nnunet(path: Path) -> Classes | None:
    """Classes of nnU-Net's first version ({"0": "background"}) or second ({"background": 0, "ignore": 2}).

    Raises:
        DataError: The file is malformed, or declares regions of several labels.
    """
    try:
        labels = parse_json(read_bytes(path, MAX_BYTES))["labels"]
        named = dict(_pair(*pair) for pair in labels.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path} declares no classes; expected "labels": {{"background": 0, "tumour": 1}} without regions of '
            "several labels. Correct it, or move it away and write classes.json beside the manifest"
        ) from error
    ignore = next((value for value, name in named.items() if name == "ignore"), None)
    classes = {str(value): name for value, name in named.items() if value != ignore}
    try:
        return Classes.from_dict({"classes": classes, "ignore": ignore})
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _pair(one: Any, other: Any) -> tuple[int, str]:  # noqa: ANN401
    """Value and name, whichever stands first."""
    return (int(one), str(other)) if str(one).isdecimal() else (int(other), str(one))


def class_problems(classes: Classes | None, folder: Path) -> Iterator[str]:
    """A problem if other classes are declared beside the manifest."""
    if classes is None:
        return
    try:
        there = read_classes(folder)
    except DataError as error:
        yield str(error)
        return
    if there is not None and there != classes:
        yield (
            f"{folder / CLASSES_FILE} declares other classes than these data ({', '.join(classes.names)}); take "
            "another folder for --out, or move the file"
        )
