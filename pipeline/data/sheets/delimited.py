"""CSV files: separators and encodings that are certain from the file itself."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path

from ....errors import DataError
from ...image_files.paths import read_bytes
from .sheet import MAX_BYTES, Sheet, trimmed

_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
_ZIP = b"PK\x03\x04"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_csv(path: Path, encoding: str) -> Sheet:
    """Read a CSV with any separator.

    Args:
        path: the file.
        encoding: of a file that does not begin with a mark of its own.

    Raises:
        DataError: The file is missing, too large, not in the encoding, or has a quote that is not closed.
    """
    text = _decoded(path, encoding)
    separator = _SEPARATOR.match(text)
    if separator:
        text = text[separator.end() :]
    header = re.split("[\r\n]", text, maxsplit=1)[0]
    # Spreadsheets write semicolons where the comma is the decimal point.
    delimiter = separator[1] if separator else max(",;\t|", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is not a valid CSV ({error}); look for a quote that is not closed") from error
    return Sheet(None, [[trimmed(cell) for cell in row] for row in rows])


def _decoded(path: Path, encoding: str) -> str:
    content = read_bytes(path, MAX_BYTES)
    if content.startswith(_ZIP):
        raise DataError(f"{path} is a spreadsheet by its content; give it the suffix .xlsx")
    if content.startswith(_UTF16):
        encoding = "utf-16"
    elif b"\0" in content[:2]:  # half of an ASCII letter, without a mark
        encoding = "utf-16-be" if content[0] == 0 else "utf-16-le"
    elif content.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise DataError(f"{path} is not {name} (byte {error.start}); save it as 'CSV UTF-8'") from error
