"""Tables of texts and samples, from CSV or XLSX, as rows of strings that know where they stand.

Row numbers are those that a spreadsheet shows: the header is row 1. A spreadsheet is a zip of XML, in which a few bytes
can stand for any number of cells: what it unpacks to is bounded before and while it is read, and defusedxml, which
openpyxl uses where it is installed, refuses entities.
"""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl

from ...errors import DataError
from ..image_files.paths import read_bytes

TABLE_SUFFIXES = frozenset({".csv", ".xlsx"})
MAX_BYTES = 2**28
"""Of a table's file, and of what an XLSX unpacks to."""
MAX_CELLS = 5_000_000
"""Of an XLSX's first sheet, blank ones before the last included; the texts of 100,000 images are 200,000."""
_QUOTE = "put quotes around text with commas"


@dataclass(frozen=True)
class TableRow:
    """One row that is not blank."""

    number: int
    cells: dict[str, str]
    """Column name in lower case to the cell's text without surrounding space; "" where the cell is empty."""


@dataclass(frozen=True)
class DataTable:
    """A table's columns (lower case, in file order), its rows, and what is wrong with single rows."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    problems: tuple[str, ...]


def read_table(path: Path) -> DataTable:
    """Read a CSV (UTF-8, with or without BOM; comma, semicolon or tab) or the first sheet of an XLSX.

    Raises:
        DataError: The file is missing, not a table, too large, without a header, or has two columns of one name.
    """
    lines = _read_xlsx(path) if path.suffix.lower() == ".xlsx" else _read_csv(path)
    numbered = [(number, cells) for number, cells in enumerate(lines, start=1) if any(cells)]
    if not numbered or numbered[0][0] != 1:
        raise DataError(f"{path} has no header; expected the columns' names in its first row")
    header = numbered[0][1]
    columns = tuple(name.lower() for name in header[: _n_used(header)])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"{path} has more than one column named {', '.join(map(repr, twice))}; keep one")
    rows, problems = [], []
    for number, cells in numbered[1:]:
        # A comma that no quotes protect shifts cells to the right, even where the last one ends up empty.
        if len(cells) > len(header) or _n_used(cells) > len(columns):
            problems.append(f"{path} row {number}: {len(cells)} cells under {len(columns)} columns; {_QUOTE}")
        else:
            rows.append(_row(number, columns, cells))
    return DataTable(path, columns, tuple(rows), tuple(problems))


def _row(number: int, columns: Sequence[str], cells: Sequence[str]) -> TableRow:
    return TableRow(number, {name: cells[i] if i < len(cells) else "" for i, name in enumerate(columns)})


def _n_used(cells: Sequence[str]) -> int:
    """How many cells there are up to the last that is not empty."""
    return max((i for i, cell in enumerate(cells, start=1) if cell), default=0)


def _read_csv(path: Path) -> Iterable[list[str]]:
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets write semicolons where the comma is the decimal point
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is not a valid CSV ({error}); look for a quote that is not closed") from error
    return [[cell.strip() for cell in row] for row in rows]


def _read_xlsx(path: Path) -> Iterable[list[str]]:
    content = io.BytesIO(read_bytes(path, MAX_BYTES))
    try:
        _refuse_bomb(path, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns of styles and extensions, which texts do not have
            sheet = openpyxl.load_workbook(content, data_only=True, read_only=True).worksheets[0]
        sheet.reset_dimensions()  # what the file says of its size may be anything
        return list(_rows_of(path, sheet))
    except DataError:
        raise
    except Exception as error:  # a zip of anything at all may stand there
        raise DataError(f"{path} cannot be read as XLSX ({type(error).__name__}: {error}); save it anew") from error


def _refuse_bomb(path: Path, content: io.BytesIO) -> None:
    """By the sizes in the zip's directory, beyond which zipfile unpacks nothing."""
    with zipfile.ZipFile(content) as archive:
        size_bytes = sum(member.file_size for member in archive.infolist())
    if size_bytes > MAX_BYTES:
        raise DataError(
            f"{path} unpacks to {size_bytes} bytes, over the limit of {MAX_BYTES}; save the two columns by themselves"
        )


def _rows_of(path: Path, sheet: Any) -> Iterator[list[str]]:  # noqa: ANN401
    n_cells = 0
    for row in sheet.iter_rows(values_only=True):
        n_cells += max(len(row), 1)
        if n_cells > MAX_CELLS:
            raise DataError(
                f"{path} has over {MAX_CELLS} cells, blank ones among them counted; remove what stands far below or "
                "right of the table, or save it as CSV"
            )
        cells = [_cell_text(value) for value in row]
        yield cells[: _n_used(cells)]


def _cell_text(value: object) -> str:
    """Numbers as they are shown: an id typed as 12 comes back as a float now and then."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()
