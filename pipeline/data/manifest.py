"""A manifest: one table with a row for each sample.

Images and masks may be slices (`scan.nii.gz#12`). Where no group is named, the slices of a volume are one, and so are
the DICOM files of an examination; every other image is its own.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from ...errors import DataError
from ..image_files.listing import FileNames
from ..image_files.paths import composed
from .entries import Entry, Listing, bad_id, own_group
from .tables import DataTable, TableColumns, read_table
from .text_tables import missing_columns
from .warnings import DataWarning

COLUMNS = TableColumns(
    required=("id", "image", "mask", "text", "split"),
    optional=("group", "stratum", "weight"),
    names=("id", "image", "split"),
    numbers=("weight",),
)
_SPLITS = {"train": "train", "val": "val", "test": "test"} | dict.fromkeys(("valid", "validation", "dev"), "val")


def list_manifest(path: Path) -> Listing:
    """The rows of a manifest; what is wrong with them is collected, never raised one at a time."""
    listing = Listing(path.parent)
    try:
        table = read_table(path, COLUMNS)
    except DataError as error:
        listing.problems.append(str(error))
        return listing
    listing.problems += table.problems
    listing.warnings += table.warnings
    unknown = [name for name in table.columns if name not in COLUMNS.all()]
    if unknown:
        listing.problems.append(
            f"{path}: unknown columns {', '.join(map(repr, unknown))}; expected {', '.join(COLUMNS.required)} and "
            f"optionally {', '.join(COLUMNS.optional)}; rename or remove them"
        )
    missing = missing_columns(table, COLUMNS.required)
    if missing:
        listing.problems.append(missing)
        return listing
    if not table.rows:
        listing.problems.append(f"{path} lists no images; write one row for each sample")
    files = FileNames(listing.root)
    for row in table.rows:
        _add_row(listing, f"{path} row {row.number}", row.cells, files)
    listing.warnings += _group_warnings(table)
    return listing


def _add_row(listing: Listing, where: str, cells: Mapping[str, str], files: FileNames) -> None:
    problems = [*bad_id(cells["id"], where)]
    image, mask = (_found(problems, files, where, column, cells[column]) for column in ("image", "mask"))
    split = _SPLITS.get(cells["split"].lower())
    if split is None:
        problems.append(f"{where}: split {cells['split']!r} is unknown; expected train, val or test")
    weight = _weight(cells.get("weight", ""))
    if weight is None:
        problems.append(
            f"{where}: weight {cells['weight']!r} is no number above 0 (decimals with a point); leave it empty for 1"
        )
    listing.problems += problems
    if split and image:
        group = composed(cells.get("group", "")) or own_group(image, listing.root, cells["id"])
        stratum = composed(cells.get("stratum", ""))
        entry = Entry(cells["id"], group, split, image, mask, cells["text"], where, stratum, weight or 1.0)
        listing.entries.append(entry)


def _found(problems: list[str], files: FileNames, where: str, column: str, name: str) -> Path | None:
    if not name:
        if column == "image":
            problems.append(f"{where}: no image is named; fill in the column 'image'")
        return None
    path = files.find(name)
    if path is None:
        problems.append(f"{where}: {column} {name!r} does not exist; paths start at {files.root}")
    return path


def _weight(cell: str) -> float | None:
    """The weight that a cell states, 1 if it is empty; `None`: it states none."""
    try:
        weight = float(cell or 1)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def _group_warnings(table: DataTable) -> Iterator[DataWarning]:
    """Warnings of groups that may hide one patient from the split: blank ones, and several that are written alike."""
    groups = [composed(row.cells.get("group", "")) for row in table.rows]
    blank = [row.cells["id"] for row, group in zip(table.rows, groups, strict=True) if not group]
    if any(groups) and blank:
        text = f"{len(blank)} of {len(groups)} rows have no group, and count as patients of their own"
        yield DataWarning("blank-groups", text, tuple(blank))
    alike = defaultdict(list)
    for group in sorted({*groups} - {""}):
        alike[_likeness(group)].append(group)
    several = tuple(" / ".join(map(repr, same)) for same in alike.values() if len(same) > 1)
    if several:
        yield DataWarning("alike-groups", "groups are written alike, and count as different patients", several)


def _likeness(group: str) -> str:
    """A name without its case, width, spaces and signs (but between digits), zeros in front, `.0`."""
    name = re.sub(r"(?<=\d)[.,]0+$", "", unicodedata.normalize("NFKC", group).casefold())
    name = re.sub(r"[\W_]+", "-", name).strip("-")
    name = re.sub(r"(?<!\d)-|-(?!\d)", "", name)
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)


def path_from(path: Path, folder: Path) -> str:
    """A file as a manifest in the folder names it, with slashes; links of single files are kept."""
    return (_relative_folder(path.parent, folder) / path.name).as_posix()


@lru_cache(maxsize=1024)
def _relative_folder(path: Path, folder: Path) -> Path:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve()))
    except ValueError:  # another drive of Windows
        return path.resolve()
