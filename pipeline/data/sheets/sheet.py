"""Cells of a table as text, whatever the format of its file."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_BYTES = 2**28
"""Of a table's file, and of what an XLSX unpacks to."""
_NO_WIDTH = "\u200b\u2060\ufeff"


@dataclass(frozen=True)
class Sheet:
    """Cells of a table as text, and those that cannot be used."""

    name: str | None
    """Of a workbook's sheet; `None`: of a CSV, which is one sheet."""
    lines: list[list[str]]
    """Rows of cells without surrounding space, from the first row; "" where a cell is empty."""
    flaws: dict[tuple[int, int], str] = field(default_factory=dict)
    """(row, column), both from 0 → the reason why a cell cannot be used."""
    hidden_rows: tuple[int, ...] = ()
    """Of those that hold something, from 0."""
    hidden_columns: frozenset[int] = frozenset()


def trimmed(cell: str) -> str:
    """A cell without space around it, that of no width included."""
    return cell.strip().strip(_NO_WIDTH).strip()
