"""Texts, patients and kinds of images from tables, whose rows name images more or less exactly.

The strictest way in which a row and an image agree decides; a row that fits several images alike is a problem, one
that fits none is named.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import DataError
from ..data.manifest import COLUMNS as MANIFEST_COLUMNS
from ..data.tables import DataTable, TableColumns, TableRow, read_table
from ..data.text_tables import COLUMNS as TEXT_COLUMNS
from ..data.text_tables import mask_stems
from ..image_files.paths import composed, split_suffix
from .listing import FoundFile
from .names import bare_image, mask_bases, split_of_folders, without_zeros

COLUMNS = {
    "name": (
        "image", "image name", "imagename", "filename", "file name", "file", "image file", "image path", "path", "name",
        "image id", "isic id", "dicom id", "id", "img", "mask", "mask name", "slide", "case",
    ),
    "text": (
        "description", "text", "report", "caption", "findings", "impression", "sentence", "prompt", "report text",
    ),
    "group": (
        "group", "patient", "patient id", "patientid", "patient number", "subject", "subject id", "subjectid",
        "lesion id",
    ),
    "stratum": ("stratum", "diagnosis", "dx", "organ", "grade (glas)"),
}  # fmt: skip
"""Use of a column → the names that it may have, the likeliest first; in lower case, one space between words."""


@dataclass(frozen=True)
class TextRow:
    """One row of a table, by the use of its columns."""

    where: str
    name: str
    values: Mapping[str, str]
    """Text, group and stratum, as far as the table has them and the cells are not empty."""
    split: str
    """The split that the table's own name tells; "" for none."""


@dataclass
class TableRows:
    """All rows of all tables."""

    rows: list[TextRow] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    """A line for each table that is used, with its columns, and one for each of its oddities."""
    unused: list[tuple[Path, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class MatchedTexts:
    """The rows of the images, and what is left."""

    rows: dict[int, TextRow] = field(default_factory=dict)
    """Index of an image → its row."""
    loose: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unmatched: list[TextRow] = field(default_factory=list)
    """Rows for no image."""


def read_tables(paths: Sequence[Path], columns: tuple[str, str] | None, *, given: bool) -> TableRows:
    """Read tables of texts.

    Args:
        paths: of CSV and XLSX files.
        columns: names of the columns of names and of texts; `None`: among `COLUMNS`.
        given: whether the user named the tables; others may be of anything and are left out then.
    """
    found = TableRows()
    for path in paths:
        try:
            _add_table(found, path, columns, given=given)
        except DataError as error:
            found.problems.append(str(error) if given else f"{error}; or name the right table with --texts")
    return found


def _add_table(found: TableRows, path: Path, columns: tuple[str, str] | None, *, given: bool) -> None:
    wanted = tuple(name.strip().lower() for name in columns) if columns else TEXT_COLUMNS.required
    table = _read(found, path, TableColumns(wanted))
    uses = _uses(table, wanted if columns else None)
    if "name" not in uses or len(uses) < 2 or ({*table.columns} >= {*MANIFEST_COLUMNS.required} and not given):
        _set_aside(found, table, given=given)
        return
    used = TableColumns(
        (uses["name"],), tuple(column for use, column in uses.items() if use != "name"), (uses["name"],)
    )
    table = _read(found, path, used)
    found.problems += table.problems
    found.read.append(f"{path}: {', '.join(f'{use} from {column!r}' for use, column in uses.items())}")
    found.read += [warning.text for warning in table.warnings]
    split = split_of_folders([path.stem])
    found.rows += [_named_row(table, row, uses, split) for row in table.rows if row.cells[uses["name"]]]


def _read(found: TableRows, path: Path, columns: TableColumns) -> DataTable:
    try:
        return read_table(path, columns)
    except DataError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
    remark = f"{path} is not UTF-8, and was read as Windows-1252; look at its accented letters"
    found.read += [remark] if remark not in found.read else []
    return read_table(path, columns, encoding="cp1252")


def _uses(table: DataTable, wanted: tuple[str, ...] | None) -> dict[str, str]:
    """Use → the table's column.

    Raises:
        DataError: A column that the user named is not there.
    """
    by_name = {" ".join(re.split(r"[\s_-]+", name.strip())).casefold(): name for name in reversed(table.columns)}
    uses = {use: next((by_name[name] for name in names if name in by_name), "") for use, names in COLUMNS.items()}
    if wanted:
        absent = [name for name in wanted if name not in table.columns]
        if absent:
            raise DataError(
                f"{table.path} has no column {', '.join(map(repr, absent))} of --text-columns; there are "
                f"{', '.join(map(repr, table.columns))}"
            )
        uses["name"], uses["text"] = wanted
    return {use: column for use, column in uses.items() if column}


def _set_aside(found: TableRows, table: DataTable, *, given: bool) -> None:
    columns = ", ".join(map(repr, table.columns))
    if given:
        found.problems.append(
            f"{table.path}: which column names the image and which holds the text? There are {columns}; name the two "
            "with --text-columns NAME,TEXT"
        )
    else:
        reason = (
            "a manifest"
            if {*table.columns} >= {*MANIFEST_COLUMNS.required}
            else f"no table of texts (columns {columns})"
        )
        found.unused.append((table.path, reason))


def _named_row(table: DataTable, row: TableRow, uses: Mapping[str, str], split: str) -> TextRow:
    values = {use: row.cells[column] for use, column in uses.items() if use != "name" and row.cells[column]}
    return TextRow(f"{table.path} row {row.number}", composed(row.cells[uses["name"]]), values, split)


@dataclass(frozen=True)
class TextRule:
    """A way in which a row's name and an image agree."""

    looseness: str
    cell: Callable[[str], set[str]]
    image: Callable[[FoundFile, Sequence[FoundFile]], set[str]]
    """Of the image and its masks."""


def _paths(one: FoundFile) -> set[str]:
    parts = one.name.split("/")
    return {"/".join(parts[i:]) for i in range(len(parts))}


def _cell(cell: str) -> set[str]:
    return {cell.replace("\\", "/").removeprefix("./")}


def _last(cell: str) -> str:
    return re.split(r"[/\\]", cell)[-1]


def _cell_stem(cell: str) -> set[str]:
    return {split_suffix(one)[0] for one in _cell(cell)}


def _mask_cell(cell: str) -> set[str]:
    stem = split_suffix(_last(cell))[0]
    return {stem, bare_image(stem), *mask_bases(stem)} - {""}


def _mask_names(one: FoundFile, masks: Sequence[FoundFile]) -> set[str]:
    return {one.stem, bare_image(one.stem), *mask_stems(one.stem), *(mask.stem for mask in masks)} - {""}


TEXT_RULES = (
    TextRule("", _cell, lambda one, _: _paths(one)),
    TextRule("another suffix, or none", _cell_stem, lambda one, _: {split_suffix(path)[0] for path in _paths(one)}),
    TextRule("the mask's name", _mask_cell, _mask_names),
    TextRule(
        "upper and lower case differ",
        lambda cell: {key.casefold() for key in _mask_cell(cell)},
        lambda one, masks: {key.casefold() for key in _mask_names(one, masks)},
    ),
    TextRule(
        "leading zeros differ",
        lambda cell: {without_zeros(key) for key in _mask_cell(cell)},
        lambda one, masks: {without_zeros(key) for key in _mask_names(one, masks)},
    ),
)


def match_names(
    rows: Sequence[TextRow], images: Sequence[FoundFile], masks: Mapping[int, Sequence[FoundFile]]
) -> MatchedTexts:
    """Find the row of every image that has one."""
    matched, waiting = MatchedTexts(), list(rows)
    for rule in TEXT_RULES:
        by_key = defaultdict(set)
        for i, image in enumerate(images):
            for key in rule.image(image, masks.get(i, ())):
                by_key[key].add(i)
        settled = dict(matched.rows)
        waiting = [row for row in waiting if not _settle(matched, rule, row, _hits(row, rule, by_key, images), settled)]
    matched.unmatched = waiting
    return matched


def _hits(row: TextRow, rule: TextRule, by_key: Mapping[str, set[int]], images: Sequence[FoundFile]) -> list[int]:
    """Images that the row fits; of the split that the table is called after, where some are."""
    hits = sorted({i for key in rule.cell(row.name) if key in by_key for i in by_key[key]})
    return [i for i in hits if row.split and images[i].split == row.split] or hits


def _settle(
    matched: MatchedTexts, rule: TextRule, row: TextRow, hits: list[int], settled: Mapping[int, TextRow]
) -> bool:
    """Whether nothing more is to be done with the row."""
    if len(hits) > 1 and rule.looseness in ("", "another suffix, or none"):
        matched.problems.append(f"{row.where}: {row.name!r} fits {len(hits)} images; write a path that fits one")
        return True
    if len(hits) != 1 or hits[0] in settled:
        return False
    other = matched.rows.setdefault(hits[0], row)
    if other is not row and other.values != row.values:
        matched.problems.append(f"{row.where}: {row.name!r} has another text in {other.where}; keep one")
    if other is row and rule.looseness:
        matched.loose[rule.looseness] = matched.loose.get(rule.looseness, 0) + 1
    return True
