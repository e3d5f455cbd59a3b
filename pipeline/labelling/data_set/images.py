"""The images of a labelling session, from a data set, a cache or a plain folder, in an order that stays.

The list is kept in the session's folder (`images.json`): the page names images by their place in it, and the masks
that the images had before are known from it once the manifest names those that were drawn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ....cache.format.manifest import MANIFEST
from ....cache.reader import FeatureReader
from ....cache.storage.atomic import parse_json, write_json
from ....errors import DataError
from ...config.data import LVIT_FOLDERS, MANIFESTS, ManifestConfig
from ...config.labelling import LabelConfig
from ...data.classes import Classes, binary, guess_binary, read_classes
from ...data.entries import Entry
from ...data.layouts import list_entries
from ...head_inputs.splits import originals
from ...image_files.reading import open_image, read_mask
from ...manifests.make import make_manifest
from ...runtime.progress import Progress

IMAGES = "images.json"
FOUND = "found.csv"
"""The manifest that is made of a plain folder of images."""
_LOOKED_AT = 8
"""Masks whose values decide between {0, 255} and {0, 1}."""


@dataclass(frozen=True)
class ImageEntry:
    """One image that may be labelled."""

    id: str
    group: str
    split: str
    """train, val or test."""
    path: Path
    """A file, or a slice of one (`FILE#INDEX`)."""
    size: tuple[int, int]
    """Native height and width in pixels."""
    text: str
    """Before any change in the session."""
    mask: Path | None
    """That the image had before the session."""
    stratum: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class ImageList:
    """The images of a session."""

    images: tuple[ImageEntry, ...]
    classes: Classes
    """Meaning of the masks that the images had before."""
    cache: Path | None
    """The cache that was given as DATA; `None`: the session makes its own."""


def list_images(config: LabelConfig, progress: Progress) -> ImageList:
    """The images of DATA: those of an earlier session first, in their order, then new ones.

    Raises:
        DataError: There are no images, or files are missing or cannot be read: all of them in one message.
        CacheError: DATA is a cache that cannot be read.
    """
    is_cache = (config.data / MANIFEST).is_file()
    entries, classes = _of_cache(config.data) if is_cache else _of_data(config, progress)
    kept = _kept(config.out)
    known = {one.id: one for one in kept}
    new = [entry for entry in entries if entry.id not in known]
    images = (*kept, *_opened(new, config))
    if not images:
        raise DataError(f"{config.data} holds no images; give a folder of images, a manifest or a cache")
    if missing := [f"{one.id}: {one.path}" for one in kept if one.id not in {entry.id for entry in entries}]:
        raise DataError(
            f"{config.out} has strokes on images that {config.data} has no more; put them back, or begin a new folder "
            "with --out:",
            missing,
        )
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / IMAGES, [_to_json(one) for one in images])
    return ImageList(images, classes, config.data if is_cache else None)


def _of_data(config: LabelConfig, progress: Progress) -> tuple[list[Entry], Classes]:
    data = config.data
    named = data.is_file() or any((data / name).exists() for name in (*LVIT_FOLDERS, *MANIFESTS))
    if not named:
        if not data.exists():
            raise DataError(f"{data} does not exist; give a folder of images, a manifest or a cache")
        data = config.out / FOUND
        data.unlink(missing_ok=True)  # new images may have come
        # All train, unless the folders say otherwise: what is divided off could not be drawn on.
        summary = make_manifest(ManifestConfig(config.data, data), progress, shares=(1.0, 0.0, 0.0))
        for line in replace(summary, hints=()).lines()[:-1]:  # the last says what to do with a manifest
            progress.say(line)
    listing = list_entries(data)
    if listing.problems:
        raise DataError(f"{data} has {len(listing.problems)} problems; correct them:", listing.problems)
    return listing.entries, read_classes(listing.root) or _guess(listing.entries)


def _guess(entries: Sequence[Entry]) -> Classes:
    """Foreground and background, by the values that masks have."""
    files = [entry.mask for entry in entries if entry.mask][:_LOOKED_AT]
    masks = [np.unique(read_mask(file)).tolist() for file in files]
    return guess_binary(masks) if masks else binary(1)


def _of_cache(cache: Path) -> tuple[list[Entry], Classes]:
    reader = FeatureReader(cache)
    root, first = Path(reader.table.root), dict[str, Entry]()
    for row in originals(reader.samples):
        text = "" if row.text is None else reader.table.texts[row.text]
        mask = None if row.mask is None else root / row.mask
        entry = Entry(row.parent, row.group, row.split, root / row.image, mask, text, row.id, row.stratum, row.weight)
        first.setdefault(row.parent, entry)
    return [*first.values()], Classes.from_dict(reader.manifest.classes)


def _opened(entries: Sequence[Entry], config: LabelConfig) -> Iterator[ImageEntry]:
    """The entries with the sizes of their images; every file that cannot be read in one message."""
    problems, images = [], []
    for entry in entries:
        try:
            size = open_image(entry.image, config.window).size
        except DataError as error:
            problems.append(str(error))
        else:
            images.append(_entry(entry, size))
    if problems:
        n = f"{len(problems)} image{'s' * (len(problems) > 1)}"
        hint = "" if config.window else "; images of more than 8 bits need --window LOW,HIGH"
        raise DataError(f"{config.data}: {n} cannot be opened{hint}:", problems)
    yield from images


def _entry(entry: Entry, size: tuple[int, int]) -> ImageEntry:
    given = {name: getattr(entry, name) for name in ("id", "group", "split", "text", "mask", "stratum", "weight")}
    return ImageEntry(path=_absolute(entry.image), size=size, **given | {"mask": entry.mask and _absolute(entry.mask)})


def _absolute(path: Path) -> Path:
    """Without `..`; links are kept, by whose names people know their files."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def _kept(out: Path) -> list[ImageEntry]:
    """The images of an earlier session in the same folder."""
    path = out / IMAGES
    if not path.exists():
        return []
    try:
        return [_from_json(one) for one in parse_json(path.read_bytes())]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); put a copy of it back, or begin a new folder") from error


def _to_json(image: ImageEntry) -> dict[str, Any]:
    return asdict(image) | {"path": str(image.path), "mask": image.mask and str(image.mask)}


def _from_json(one: dict[str, Any]) -> ImageEntry:
    mask = one["mask"]
    paths = {"path": Path(one["path"]), "mask": None if mask is None else Path(mask)}
    height, width = one["size"]
    return ImageEntry(**one | paths | {"size": (int(height), int(width))})
