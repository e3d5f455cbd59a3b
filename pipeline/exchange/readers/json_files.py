"""JSON of other programs: bounded, and named in every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....cache.storage.atomic import parse_json
from ....errors import DataError
from ...image_files.paths import read_bytes

MAX_BYTES = 2**29
"""Of a file: 512 MB take 4 to 8 GB of memory when they are read."""


def read_json(path: Path) -> Any:  # noqa: ANN401
    """The value in a JSON file.

    Raises:
        DataError: The file is missing, too large, or not JSON.
    """
    try:
        return parse_json(read_bytes(path, MAX_BYTES))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not JSON ({str(error)[:200]})") from error


def listed(value: object, key: str) -> list[dict[str, Any]]:
    """The objects in the list `value[key]`; an empty list where there is none."""
    entries = value.get(key) if isinstance(value, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def text_of(value: object, default: str = "") -> str:
    """A string or number as text."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else default


def number_of(value: object, what: str) -> float:
    """A finite number.

    Raises:
        DataError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise DataError(f"{what} is {str(value)[:40]!r}, not a number")
    return float(value)


def whole_number(value: object, what: str) -> int:
    """A whole number.

    Raises:
        DataError: It is none.
    """
    number = number_of(value, what)
    if number != int(number):
        raise DataError(f"{what} is {number}, not a whole number")
    return int(number)
