"""Sheets of an XLSX workbook as they are shown: merged cells filled, numbers in their formats, hidden sheets left out.

A spreadsheet is a zip of XML, in which a few bytes can stand for any number of cells: what it unpacks to is bounded
before and while it is read, merged ranges are filled where rows hold something else too, and defusedxml, which openpyxl
uses where it is installed, refuses entities.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.utils.datetime import to_excel

# The parser below openpyxl's sheets: those that are read row by row keep merged and hidden cells to themselves.
from openpyxl.worksheet._reader import FORMULA_TAG, WorkSheetParser

from ....errors import DataError
from ...image_files.paths import read_bytes
from .number_formats import EXACT_BELOW, general, shown_number
from .sheet import MAX_BYTES, Sheet, trimmed

MAX_CELLS = 5_000_000
"""Of a sheet, blank ones before the last included; the texts of 100,000 images are 200,000."""
_OLE = b"\xd0\xcf\x11\xe0"
_STRICT = b"purl.oclc.org/ooxml"
_ESCAPED = re.compile("_x00(0[9AD])_", re.IGNORECASE)  # tabs and line ends
_SAVE_AS = "save it as 'Excel Workbook (.xlsx)' or 'CSV UTF-8'"


def read_sheet(
    path: Path, has_columns: Callable[[Sequence[str]], bool], as_stored: Collection[str]
) -> tuple[Sheet, tuple[str, ...]]:
    """Read the first visible sheet that has the columns; where none has, the first visible one.

    Args:
        path: an XLSX.
        has_columns: whether a first row has them.
        as_stored: columns, in lower case, whose numbers are taken as they are stored, not as they are shown.

    Returns:
        The sheet, and the names of other visible sheets that have the columns.

    Raises:
        DataError: The file is missing, not an XLSX, too large, or shows no sheet.
    """
    content = io.BytesIO(read_bytes(path, MAX_BYTES))
    with _explained(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl warns of styles and extensions, which texts do not have
        _refuse_other_formats(path, content)
        book = openpyxl.load_workbook(content, data_only=True, read_only=True)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        if not sheets:
            raise DataError(f"{path} shows no sheet with cells; show the one that holds the table")
        fitting = [sheet for sheet in sheets if has_columns(_first_row(path, sheet))]
        chosen = (fitting or sheets)[0]
        return _read(path, chosen, as_stored), tuple(sheet.title for sheet in fitting[1:])


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a zip of anything at all may stand there
        raise DataError(f"{path} cannot be read as XLSX ({type(error).__name__}: {error}); save it anew") from error


def _refuse_other_formats(path: Path, content: io.BytesIO) -> None:
    """By first bytes and the zip's directory; by its sizes too, beyond which zipfile unpacks nothing."""
    if content.getvalue().startswith(_OLE):
        raise DataError(
            f"{path} is protected by a password, or of Excel 97-2003 (.xls); without a password, {_SAVE_AS}"
        )
    with zipfile.ZipFile(content) as archive:
        size_bytes = sum(member.file_size for member in archive.infolist())
        if size_bytes > MAX_BYTES:
            raise DataError(
                f"{path} unpacks to {size_bytes} bytes, over the limit of {MAX_BYTES}; save the two columns by "
                "themselves"
            )
        names = set(archive.namelist())
        kinds = {"xl/workbook.bin": "XLSB", "mimetype": "OpenDocument (.ods)", "Index/Document.iwa": "Apple Numbers"}
        other = next((kind for name, kind in kinds.items() if name in names), None)
        if "_rels/.rels" in names and _STRICT in archive.read("_rels/.rels"):
            other = "'Strict Open XML Spreadsheet'"
    if other:
        raise DataError(f"{path} is saved as {other}, which is not read; {_SAVE_AS}")


class _SheetParser(WorkSheetParser):
    """Marks formulas whose result is not stored: programs that write workbooks do not calculate."""

    def parse_cell(self, element: Any) -> dict[str, Any]:  # noqa: ANN401
        cell: dict[str, Any] = super().parse_cell(element)
        # An empty result is of type `str`, with nothing in it.
        if cell["value"] is None and element.find(FORMULA_TAG) is not None and element.get("t") != "str":
            cell["data_type"] = "f"
        return cell


@contextmanager
def _parsed(sheet: Any) -> Iterator[_SheetParser]:  # noqa: ANN401
    with sheet._get_source() as source:
        # Without formats of dates: these stay numbers.
        yield _SheetParser(source, sheet._shared_strings, data_only=True, epoch=sheet.parent.epoch)


def _first_row(path: Path, sheet: Any) -> list[str]:  # noqa: ANN401
    with _parsed(sheet) as parser:
        number, cells = next(parser.parse(), (0, []))
    if number != 1:
        return []
    line = [""] * _width(path, cells)
    for cell in cells:
        line[cell["column"] - 1] = str(cell["value"] or "").strip()
    return line


def _read(path: Path, sheet: Any, as_stored: Collection[str]) -> Sheet:  # noqa: ANN401
    stored = {i for i, name in enumerate(_first_row(path, sheet)) if " ".join(name.split()).lower() in as_stored}
    lines: list[list[str]] = []
    flaws: dict[tuple[int, int], str] = {}
    hidden, n_cells, format_of = [], 0, _formats(sheet)
    with _parsed(sheet) as parser:
        for number, cells in parser.parse():
            if number <= len(lines):
                raise DataError(f"{path} has rows out of order in sheet {sheet.title!r}; save it anew")
            width = _width(path, cells)
            n_cells += number - len(lines) - 1 + max(width, 1)
            _refuse_many(path, n_cells)
            lines += [[] for _ in range(number - len(lines) - 1)]
            lines.append([""] * width)
            for cell in cells:
                column = cell["column"] - 1
                number_format = "General" if column in stored else format_of(cell["style_id"])
                lines[-1][column], flaw = _text_and_flaw(cell, number_format, sheet.parent.epoch)
                if flaw:
                    flaws[number - 1, column] = flaw
            if _is_set(parser.row_dimensions.pop(str(number), {}), "hidden") and any(lines[-1]):
                hidden.append(number - 1)
        _fill_merged(path, lines, flaws, parser.merged_cells.mergeCell if parser.merged_cells else ())
        columns = [one for one in parser.column_dimensions.values() if _is_set(one, "hidden")]
    n_columns = len(lines[0]) if lines else 0
    hidden_columns = {i for one in columns for i in range(int(one["min"]) - 1, min(int(one["max"]), n_columns))}
    return Sheet(sheet.title, lines, flaws, tuple(hidden), frozenset(hidden_columns))


def _width(path: Path, cells: Sequence[dict[str, Any]]) -> int:
    width = max((cell["column"] for cell in cells), default=0)
    _refuse_many(path, width)
    return width


def _refuse_many(path: Path, n_cells: int) -> None:
    if n_cells > MAX_CELLS:
        raise DataError(
            f"{path} has over {MAX_CELLS} cells, blank ones among them counted; remove what stands far below or "
            "right of the table, or save it as CSV"
        )


def _is_set(attributes: Mapping[str, str], name: str) -> bool:
    return attributes.get(name) in ("1", "true")


def _formats(sheet: Any) -> Callable[[int], str]:  # noqa: ANN401
    """Number format of a style."""

    @cache
    def format_of(style: int) -> str:
        return str(ReadOnlyCell(sheet, 1, 1, None, style_id=style).number_format)

    return format_of


def _text_and_flaw(cell: Mapping[str, Any], number_format: str, epoch: datetime) -> tuple[str, str]:
    """A cell's text as it is shown, and why it cannot be used; "" for no reason."""
    value = cell["value"]
    if cell["data_type"] == "f":
        return "", "a formula whose result is not stored; open the file in a spreadsheet program and save it"
    if isinstance(value, bool):
        return str(value).upper(), ""
    if isinstance(value, date | time | timedelta):  # ISO 8601, which few programs write
        value = to_excel(value, epoch)
    if not isinstance(value, int | float):
        return trimmed(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), str(value or ""))), ""
    if not abs(value) < EXACT_BELOW:
        return str(value), "a number of more digits than the 15 that spreadsheets keep; enter it as text"
    shown = shown_number(value, number_format, epoch)
    if shown is None:
        return general(value), f"{general(value)} in the number format {number_format!r}; enter what it shows as text"
    return shown, ""


def _fill_merged(path: Path, lines: list[list[str]], flaws: Collection[tuple[int, int]], ranges: Iterable[Any]) -> None:
    """Give all cells of a merged range the text of its first one, below the header and in rows that hold others too."""
    n_columns = len(lines[0]) if lines else 0
    has_own = [any(line) for line in lines]
    for row, _ in flaws:
        has_own[row] = True
    n_filled = 0
    for merged in ranges:
        left, top, right, bottom = merged.bounds
        columns, rows = range(left - 1, min(right, n_columns)), range(top - 1, min(bottom, len(lines)))
        n_filled += len(columns) * len(rows)
        _refuse_many(path, n_filled)
        if top == 1 or not columns or not rows:
            continue
        text = lines[top - 1][left - 1] if left <= len(lines[top - 1]) else ""
        for row in filter(has_own.__getitem__, rows):
            lines[row] += [""] * (columns.stop - len(lines[row]))
            lines[row][columns.start : columns.stop] = [text] * len(columns)
