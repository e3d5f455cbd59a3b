"""The two ways in which data may lie on disk, listed as the same entries without opening an image.

LViT's layout (github.com/HUANGLIZI/LViT) is a folder with some of `Train_Folder`, `Val_Folder` and `Test_Folder`,
each with `img/`, `labelcol/` and a `*_text.xlsx` or `*_text.csv` of Image and Description. The presets' data are
published so: MoNuSeg as `img/NAME.tif` with `labelcol/NAME.png`, QaTa-COV19 as `img/NAME.png` with
`labelcol/mask_NAME.png`, the texts of both under the masks' names. A manifest is one table with a row for each sample;
its images and masks may be slices (`scan.nii.gz#12`). What is wrong is collected, never raised one at a time.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import DataError
from ..config.data import LVIT_FOLDERS, MANIFESTS
from ..image_files.paths import is_image, is_ngff, split_place, stem_of
from .tables import TABLE_SUFFIXES, DataTable, read_table
from .text_tables import COLUMNS, mask_stems, match_rows, missing_columns
from .warnings import DataWarning

_SPLITS = {"train": "train", "val": "val", "test": "test"} | dict.fromkeys(("valid", "validation", "dev"), "val")
_REQUIRED = ("id", "image", "mask", "text", "split")
_OPTIONAL = ("group", "stratum", "weight")
_ID = re.compile(r"[\w-](?:[\w. -]*[\w-])?")
_MAX_ID_BYTES = 200
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])(\..*)?", re.IGNORECASE)  # devices on Windows
_ID_RULE = (
    "ids become file names: letters, digits, '.', '_', '-' and spaces inside, without '..' and names of devices, "
    f"of up to {_MAX_ID_BYTES} bytes"
)


@dataclass(frozen=True)
class Entry:
    """One sample as the layout names it; its image and mask exist but were not opened."""

    id: str
    group: str
    split: str
    image: Path
    mask: Path | None
    text: str
    where: str
    """What a message calls it: the image, or the row of the manifest."""
    stratum: str = ""
    weight: float = 1.0


@dataclass
class Listing:
    """Everything that a layout names, and what is wrong or odd with it, one line each."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)


def list_entries(data: Path) -> Listing:
    """List a folder in LViT's layout, a manifest, or a folder that holds a manifest.

    Raises:
        DataError: Nothing is there, or it is neither, or both.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist; expected {_EXPECTED}")
    if data.is_file():
        return _list_manifest(_known_table(data))
    names = [name for name in (*LVIT_FOLDERS, *MANIFESTS) if (data / name).exists()]
    manifests = [name for name in names if name in MANIFESTS]
    if not names:
        raise DataError(f"{data} is not a data folder; expected {_EXPECTED}")
    if manifests and len(names) > 1:
        raise DataError(f"{data} holds {', '.join(names)}; keep one of them, or give the path of the manifest itself")
    return _list_manifest(data / manifests[0]) if manifests else _list_lvit(data, names)


_EXPECTED = f"a folder with any of {', '.join(LVIT_FOLDERS)}, or a manifest (.csv, .xlsx) with {', '.join(_REQUIRED)}"


def _known_table(path: Path) -> Path:
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(f"{path} is not a manifest; expected {_EXPECTED}")
    return path


def _list_lvit(root: Path, folders: list[str]) -> Listing:
    listing = Listing(root)
    for name in folders:
        _add_folder(listing, root / name, LVIT_FOLDERS[name])
    return listing


def _add_folder(listing: Listing, folder: Path, split: str) -> None:
    images = _images_in(folder / "img")
    if not images:
        listing.problems.append(f"{folder / 'img'} holds no images; put them there, or remove {folder.name}")
    masks = _match_masks(listing, folder / "labelcol", images, optional=split == "test")
    stems = [stem_of(image) for image in images]
    entries = [
        Entry(stem, stem, split, image, masks.get(image), "", str(image))
        for stem, image in zip(stems, images, strict=True)
    ]
    listing.problems += [problem for entry in entries for problem in _bad_id(entry.id, entry.where)]
    listing.entries += _with_texts(listing, folder, entries)


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_image(path)) if folder.is_dir() else []


def _match_masks(listing: Listing, folder: Path, images: list[Path], *, optional: bool) -> dict[Path, Path]:
    """The mask of each image, by its stem."""
    if not folder.is_dir():
        if images and not optional:
            listing.problems.append(f"{folder} does not exist; expected a mask there for each of {len(images)} images")
        return {}
    by_stem = defaultdict(list)
    for mask in _images_in(folder):
        by_stem[stem_of(mask)].append(mask)
    matched = {}
    for image in images:
        masks_of_image = [mask for stem in mask_stems(stem_of(image)) for mask in by_stem.pop(stem, [])]
        if masks_of_image:
            matched[image] = masks_of_image[0]
        if len(masks_of_image) != 1:
            listing.problems.append(_not_one_mask(image, folder, masks_of_image))
    extra = [mask for masks in by_stem.values() for mask in masks]
    listing.problems += [f"{mask} belongs to no image in {folder.parent / 'img'}; remove it" for mask in extra]
    return matched


def _not_one_mask(image: Path, folder: Path, masks: list[Path]) -> str:
    if not masks:
        return f"{image} has no mask; expected {folder / stem_of(image)}.png"
    return f"{image} has {len(masks)} masks ({', '.join(mask.name for mask in masks)}); keep one"


def _with_texts(listing: Listing, folder: Path, entries: list[Entry]) -> list[Entry]:
    tables = [path for path in sorted(folder.iterdir()) if _is_text_table(path)]
    if not tables:
        text = f"{folder} holds no *_text.xlsx or *_text.csv; its samples have no texts"
        listing.warnings.append(DataWarning("no-texts", text))
        return entries
    if len(tables) > 1:
        listing.problems.append(f"{folder} holds {', '.join(path.name for path in tables)}; keep one table of texts")
        return entries
    try:
        table = read_table(tables[0])
    except DataError as error:
        listing.problems.append(str(error))
        return entries
    return _join_texts(listing, table, entries)


def _is_text_table(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in TABLE_SUFFIXES and path.stem.lower().endswith("_text") and path.name[0] not in ".~"


def _join_texts(listing: Listing, table: DataTable, entries: list[Entry]) -> list[Entry]:
    listing.problems += table.problems
    problem = missing_columns(table, COLUMNS)
    if problem:
        listing.problems.append(problem)
        return entries
    unused = [name for name in table.columns if name not in COLUMNS]
    if unused:
        text = f"{table.path}: columns {', '.join(map(repr, unused))} are not used"
        listing.warnings.append(DataWarning("unused-columns", text))
    matched = match_rows(table, [(entry.image, entry.mask) for entry in entries])
    rows = matched.rows
    listing.problems += [*matched.problems, *matched.unmatched]
    listing.problems += [
        f"{table.path} has no row for {entry.where}; add one" for i, entry in enumerate(entries) if i not in rows
    ]
    return [
        replace(entry, text=rows[i].cells["description"]) if i in rows else entry for i, entry in enumerate(entries)
    ]


def _list_manifest(path: Path) -> Listing:
    listing = Listing(path.parent)
    try:
        table = read_table(path)
    except DataError as error:
        listing.problems.append(str(error))
        return listing
    listing.problems += table.problems
    missing = missing_columns(table, _REQUIRED)
    unknown = [name for name in table.columns if name not in (*_REQUIRED, *_OPTIONAL)]
    if unknown:
        listing.problems.append(
            f"{path}: unknown columns {', '.join(map(repr, unknown))}; expected {', '.join(_REQUIRED)} and optionally "
            f"{', '.join(_OPTIONAL)}; rename or remove them"
        )
    if missing:
        listing.problems.append(missing)
        return listing
    if not table.rows:
        listing.problems.append(f"{path} lists no images; write one row for each sample")
    for row in table.rows:
        _add_row(listing, f"{path} row {row.number}", row.cells)
    return listing


def _add_row(listing: Listing, where: str, cells: dict[str, str]) -> None:
    problems = [*_bad_id(cells["id"], where), *_bad_paths(listing.root, where, cells)]
    split = _SPLITS.get(cells["split"].lower())
    if split is None:
        problems.append(f"{where}: split {cells['split']!r} is unknown; expected train, val or test")
    weight = _weight(cells.get("weight", ""))
    if weight is None:
        problems.append(
            f"{where}: weight {cells['weight']!r} is no number above 0 (decimals with a point); leave it empty for 1"
        )
    listing.problems += problems
    image, mask = (listing.root / cells[column] for column in ("image", "mask"))
    if split and cells["image"] and _exists(image):
        kept_mask = mask if cells["mask"] and _exists(mask) else None
        group = cells.get("group") or _own_group(image, cells)
        stratum = cells.get("stratum", "")
        entry = Entry(cells["id"], group, split, image, kept_mask, cells["text"], where, stratum, weight or 1.0)
        listing.entries.append(entry)


def _weight(cell: str) -> float | None:
    """The weight that a cell states, 1 if it is empty; `None`: it states none."""
    try:
        weight = float(cell or 1)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def _exists(path: Path) -> bool:
    try:
        file = split_place(path)[0]
        return file.is_file() or is_ngff(file)
    except OSError:  # a name that no file system takes
        return False


def _own_group(image: Path, cells: dict[str, str]) -> str:
    """Where the manifest names no patient, what is part of one file is one, and every other image is its own."""
    return cells["image"].rpartition("#")[0] if split_place(image)[1] else cells["id"]


def _bad_paths(root: Path, where: str, cells: dict[str, str]) -> Iterator[str]:
    if not cells["image"]:
        yield f"{where}: no image is named; fill in the column 'image'"
    for column in ("image", "mask"):
        if cells[column] and not _exists(root / cells[column]):
            yield f"{where}: {column} {cells[column]!r} does not exist; paths start at {root}"


def _bad_id(sample_id: str, where: str) -> Iterator[str]:
    fits = _ID.fullmatch(sample_id) and len(sample_id.encode()) <= _MAX_ID_BYTES
    if not fits or ".." in sample_id or _RESERVED.fullmatch(sample_id):
        yield f"{where}: the id {sample_id!r} cannot be used; {_ID_RULE}"
