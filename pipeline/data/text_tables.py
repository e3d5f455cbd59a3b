"""Tables of Image and Description, and which of their rows belongs to which image.

A row may name the image or its mask, with or without its suffix, or with that of the other: the published tables of
MoNuSeg and QaTa-COV19 name masks (`NAME.png` for the image `NAME.tif`, `mask_NAME.png` for `NAME.png`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ..image_files.paths import composed, split_suffix, stem_of
from .tables import DataTable, TableColumns, TableRow, read_table

COLUMNS = TableColumns(("image", "description"), names=("image",))


@dataclass(frozen=True)
class Matched:
    """Rows of a table matched with images."""

    rows: dict[int, TableRow]
    """Index of an image in the list → its first row."""
    problems: tuple[str, ...]
    """Rows whose text is blank, and rows for the same image again."""
    unmatched: tuple[str, ...]
    """Rows for no image in the list."""


def mask_stems(image_stem: str) -> tuple[str, str, str]:
    """Names that an image's mask may have, without its suffix; `mask_NAME` is QaTa-COV19's way."""
    return image_stem, f"mask_{image_stem}", f"{image_stem}_mask"


def match_rows(table: DataTable, images: Sequence[tuple[Path, Path | None]]) -> Matched:
    """Find the row of each (image, mask); the table must have the columns of `COLUMNS`."""
    by_name = _indices_by_name(images)
    rows: dict[int, TableRow] = {}
    problems, unmatched = [], []
    for row in table.rows:
        where, name = f"{table.path} row {row.number}", row.cells["image"]
        index = by_name.get(name, by_name.get(split_suffix(name)[0]))
        if index is None:
            unmatched.append(f"{where}: {name!r} is no image or mask here; add the image or remove the row")
        elif index in rows:
            problems.append(f"{where}: {name!r} has a text in row {rows[index].number} already; keep one")
        else:
            rows[index] = row
            if not row.cells["description"] and "description" not in row.missing:
                problems.append(f"{where}: empty text for {name!r}; write a Description")
    return Matched(rows, tuple(problems), tuple(unmatched))


def _indices_by_name(images: Sequence[tuple[Path, Path | None]]) -> dict[str, int]:
    """Every name a table may use; where an image and another's mask share one, the image has it."""
    by_name: dict[str, int] = {}
    for i, (image, _) in enumerate(images):
        by_name.setdefault(composed(image.name), i)
        by_name.setdefault(stem_of(image), i)
    for i, (image, mask) in enumerate(images):
        masks = (composed(mask.name), stem_of(mask)) if mask else ()
        for name in (*masks, *mask_stems(stem_of(image))):
            by_name.setdefault(name, i)
    return by_name


def missing_columns(table: DataTable, columns: Sequence[str]) -> str | None:
    """A problem if the table lacks any of the columns."""
    missing = ", ".join(repr(name) for name in columns if name not in table.columns)
    columns = ", ".join(map(repr, table.columns))
    return f"{table.path}: missing columns {missing}; got {columns}; add them to the header" if missing else None


def texts_by_image(images: Mapping[Path, Sequence[Path]], table_path: Path) -> dict[Path, str]:
    """The text of each image or volume: that of its own row, or else the one that the rows of its slices agree on.

    Args:
        images: each with its slices.
        table_path: a table that may have rows for other images too.

    Raises:
        DataError: The table cannot be read or lacks a column, or an image has no text, an empty one, or several.
    """
    table = read_table(table_path, COLUMNS)
    problem = missing_columns(table, COLUMNS.required)
    if problem:
        raise DataError(problem)
    named = list(dict.fromkeys(path for image, slices in images.items() for path in (image, *slices)))
    matched = match_rows(table, [(path, None) for path in named])
    row_of = {named[i]: row for i, row in matched.rows.items()}
    texts, problems = {}, [*table.problems, *matched.problems]
    for image, slices in images.items():
        rows = [row_of[image]] if image in row_of else [row_of[one] for one in slices if one in row_of]
        found = list(dict.fromkeys(row.cells["description"] for row in rows if not row.missing))
        if not rows:
            problems.append(f"no row for {image.name}; add one")
        elif not found:
            problems.append(f"no text for {image.name}; write one")
        elif len(found) > 1:
            problems.append(
                f"{len(found)} texts for the slices of {image.name}, which is segmented as a whole (row "
                f"{rows[0].number} and others); write one row for {image.name}"
            )
        else:
            texts[image] = found[0]
    if problems:
        raise DataError(f"{table_path} does not give every image one text:", problems)
    return texts
