"""Tables of texts and samples, from CSV or XLSX, as rows of strings that know where they stand.

Row numbers are those that a spreadsheet shows: the header is row 1. What is shown counts: a cell that shows an error is
a problem, one that spells out a missing value (nan, N/A) is empty, each in the columns that are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openpyxl.utils import get_column_letter

from ...errors import DataError
from ..image_files.paths import composed
from .sheets.delimited import read_csv
from .sheets.sheet import Sheet
from .sheets.workbook import read_sheet
from .warnings import DataWarning

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".xlsx", ".xlsm"})
OTHER_SUFFIXES = frozenset({".xls", ".xlsb", ".ods", ".fods", ".numbers"})
"""Of tables that are not read."""
MISSING = frozenset(
    (
        *("nan", "-nan", "na", "n/a", "n.a", "<na>", "#na", "none", "<none>", "null", "<null>", "(null)", "nil"),
        *("nat", "\\n", "missing", "undefined"),
    )
)
"""Words, in lower case, that programs and people write for a missing value; signs alone (-, ?, ...) mean the same."""
_ERROR = re.compile(
    r"#[¡¿]?(DIV/0|[^\W\d_]{2,12})[!?]|#(N/A|NV|N/D|ND|N/DISP|I/T|Н/Д|YOK|HIÁNYZIK|GETTING_DATA|#+)|Err:\d{3}",
    re.IGNORECASE,
)  # as programs write them in several languages
_SIGNS = re.compile(r"[-–—.?/]+")
_UNNAMED = re.compile(r"(unnamed: \d+(\.\d+)*)?")  # pandas' columns without a name
_QUOTE = "put quotes around text with commas"
_FIRST_ROWS = 20
"""Among which the columns' names are looked for."""
_NAMED = 5
"""Cells that a warning names."""


@dataclass(frozen=True)
class TableColumns:
    """Columns that a table is read for, in lower case."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Those of names of samples and files, where no word stands for a missing value."""
    numbers: tuple[str, ...] = ()
    """Those of numbers, which are taken as they are stored, whatever digits are shown."""

    def all(self) -> tuple[str, ...]:
        """Required and optional ones."""
        return self.required + self.optional


@dataclass(frozen=True)
class TableRow:
    """One row that is not blank."""

    number: int
    cells: dict[str, str]
    """Column name in lower case to the cell's text without surrounding space; "" where the cell is empty."""
    missing: frozenset[str] = frozenset()
    """Columns whose cell says that a value is missing; it counts as empty."""


@dataclass(frozen=True)
class DataTable:
    """A table's named columns (lower case, in file order), its rows, and what is wrong or odd with single cells."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    problems: tuple[str, ...]
    warnings: tuple[DataWarning, ...] = ()


def read_table(path: Path, columns: TableColumns | None = None, *, encoding: str = "utf-8-sig") -> DataTable:
    """Read a CSV (comma, semicolon, tab or bar; UTF-8, or UTF-16 that says so) or a visible sheet of an XLSX.

    Args:
        path: the file.
        columns: those that are read; the first visible sheet that has the required ones is taken, and errors and
            missing values in them are looked for. `None`: the first visible sheet that names two columns, its cells as
            they stand.
        encoding: of a CSV that does not begin with a mark of its own.

    Raises:
        DataError: The file is missing, not a table, too large, without a header, or has two columns of one name.
    """
    sheet, warnings = _sheet_and_warnings(path, columns, encoding)
    if columns:
        _refuse_rows_above(sheet, path, columns)
    header = [_column_name(cell) for cell in sheet.lines[0]] if sheet.lines else []
    if not any(header):
        raise DataError(f"{path} has no header; expected the columns' names in its first row")
    named = {name: i for i, name in enumerate(header) if not _UNNAMED.fullmatch(name)}
    twice = sorted(name for name in named if header.count(name) > 1)
    if twice:
        raise DataError(f"{path} has more than one column named {', '.join(map(repr, twice))}; keep one")
    problems, numbered = _fitting_lines(sheet, path, len(header))
    warnings += _unused_cells(path, header, [cells for _, cells in numbered])
    columns = columns or TableColumns(())
    read = {name: named[name] for name in columns.all() if name in named}
    problems += _flaws(sheet, path, read)
    rows = []
    for number, cells in numbered:
        texts = {name: _at(cells, i) for name, i in named.items()}
        rows.append(_cleaned(TableRow(number, texts), columns))
    warnings += _missing_cells(path, rows, read)
    return DataTable(path, tuple(named), tuple(rows), tuple(problems), tuple(warnings))


def _refuse_rows_above(sheet: Sheet, path: Path, columns: TableColumns) -> None:
    """Refuse a table whose columns are named below a title or a blank row."""
    first = enumerate(sheet.lines[:_FIRST_ROWS])
    if row := next((i for i, line in first if {*columns.required} <= {*map(_column_name, line)}), 0):
        raise DataError(f"{path} names its columns in row {row + 1}; delete the rows above it")


def _at(cells: Sequence[str], i: int) -> str:
    return cells[i] if i < len(cells) else ""


def _column_name(cell: str) -> str:
    """In lower case, without stray space and marks of no width."""
    return composed(" ".join(cell.replace("\ufeff", "").replace("\u200b", "").split()).lower())


def _sheet_and_warnings(path: Path, columns: TableColumns | None, encoding: str) -> tuple[Sheet, list[DataWarning]]:
    if path.suffix.lower() in OTHER_SUFFIXES:
        raise DataError(f"{path} is no table that is read; save it as 'Excel Workbook (.xlsx)' or 'CSV UTF-8'")
    if path.suffix.lower() not in (".xlsx", ".xlsm"):
        return read_csv(path, encoding), []
    if columns is None:
        return read_sheet(path, lambda header: sum(map(bool, header)) > 1, ())[0], []
    has_columns = lambda header: {*columns.required} <= {*map(_column_name, header)}  # noqa: E731
    sheet, others = read_sheet(path, has_columns, columns.numbers)
    warnings = []
    if others:
        text = f"{path}: sheets {', '.join(map(repr, others))} have the columns too; {sheet.name!r} is read"
        warnings.append(DataWarning("several-sheets", text))
    header = [_column_name(cell) for cell in sheet.lines[0]] if sheet.lines else []
    hidden = [f"column {header[i]!r}" for i in sorted(sheet.hidden_columns) if header[i] in columns.all()]
    hidden += [f"row {i + 1}" for i in sheet.hidden_rows if i]
    if hidden:
        text = f"{path}: {_listed(hidden)} of sheet {sheet.name!r} are hidden, and are read like the others"
        warnings.append(DataWarning("hidden-cells", text))
    return sheet, warnings


def _listed(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _fitting_lines(sheet: Sheet, path: Path, n_columns: int) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Problems of rows that are too long, and the others that are not blank, by their numbers."""
    numbered = [(number, cells) for number, cells in enumerate(sheet.lines[1:], start=2) if any(cells)]
    if sheet.name is not None:  # no comma can shift its cells
        return [], numbered
    n_used = _n_used(sheet.lines[0])
    # A comma that no quotes protect shifts cells to the right, even where the last one ends up empty.
    too_long = {number for number, cells in numbered if len(cells) > n_columns or _n_used(cells) > n_used}
    problems = [
        f"{path} row {number}: {len(sheet.lines[number - 1])} cells under {n_used} columns; {_QUOTE}"
        for number in sorted(too_long)
    ]
    return problems, [(number, cells) for number, cells in numbered if number not in too_long]


def _n_used(cells: Sequence[str]) -> int:
    """How many cells there are up to the last that is not empty."""
    return max((i for i, cell in enumerate(cells, start=1) if cell), default=0)


def _unused_cells(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[DataWarning]:
    """A warning of columns without a name that hold something, unless it numbers the rows, as pandas' index does."""
    width = max(map(len, [header, *lines]))
    unnamed = [i for i in range(width) if _UNNAMED.fullmatch(_at(header, i))]
    unused = []
    for i in unnamed:
        cells = [_at(cells, i) for cells in lines]
        is_index = len({*cells}) == len(cells) and all(cell.isdecimal() for cell in cells)
        if any(cells) and not is_index:
            unused.append(f"column {get_column_letter(i + 1)}")
    if not unused:
        return []
    return [DataWarning("unused-columns", f"{path}: {_listed(unused)} has cells, but no name, and is not used")]


def _flaws(sheet: Sheet, path: Path, read: Mapping[str, int]) -> list[str]:
    """A problem for each cell that cannot be used, in columns that are read."""
    where = str(path) if sheet.name is None else f"{path} sheet {sheet.name!r}"
    problems = []
    for row, cells in enumerate(sheet.lines[1:], start=1):
        for name, i in read.items():
            flaw = sheet.flaws.get((row, i)) or (
                _ERROR.fullmatch(_at(cells, i)) and f"the error {cells[i]}; correct it"
            )
            if flaw:
                problems.append(f"{where} cell {get_column_letter(i + 1)}{row + 1} ({name}) holds {flaw}")
    return problems


def _cleaned(row: TableRow, columns: TableColumns) -> TableRow:
    """Errors and missing values are empty, names composed."""
    cells, missing = dict(row.cells), []
    for name in columns.all():
        cell = cells.get(name, "")
        if name in columns.names:
            cells[name] = composed(cell)
        elif _ERROR.fullmatch(cell):
            cells[name] = ""
        elif name not in columns.numbers and (cell.lower().rstrip(".") in MISSING or _SIGNS.fullmatch(cell)):
            cells[name] = ""
            missing.append(name)
    return TableRow(row.number, {name: cells[name] for name in row.cells}, frozenset(missing))


def _missing_cells(path: Path, rows: Sequence[TableRow], read: Mapping[str, int]) -> list[DataWarning]:
    cells = [
        f"{get_column_letter(i + 1)}{row.number}" for row in rows for name, i in read.items() if name in row.missing
    ]
    if not cells:
        return []
    text = f"{path}: {len(cells)} cells spell out a missing value (such as nan or N/A) and count as empty"
    return [DataWarning("missing-values", f"{text}: {_listed(cells)}")]
