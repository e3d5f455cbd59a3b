"""The base of every result: lines for a terminal, values for programs, a table for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError

if TYPE_CHECKING:
    import pandas

N_SHOWN = 10
"""Rows of its table that a result shows in a notebook."""


class Result:
    """Findings of a command, or a description of its output."""

    def to_dict(self) -> dict[str, Any]:
        """The values for programs, ready for JSON."""
        raise NotImplementedError

    def lines(self) -> list[str]:
        """The result for people, a line each."""
        raise NotImplementedError

    def to_rows(self) -> list[dict[str, Any]]:
        """Its table (samples, variants, files, words, ...): a mapping for each row; empty where it has none."""
        return []

    def to_frame(self) -> pandas.DataFrame:
        """`to_rows` as a pandas frame.

        Raises:
            ConfigError: if pandas is not installed.
        """
        return frame(self.to_rows())

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        """For notebooks."""
        text, rows = escape(str(self)), self.to_rows()
        details = f"<details><summary>{len(rows)} rows</summary>{table(rows)}</details>" if rows else ""
        return f"<pre>{text}</pre>{details}"


def frame(rows: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    """Rows as a pandas frame.

    Raises:
        ConfigError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ConfigError(
            "a frame needs pandas, which is not installed: pip install pandas; to_rows() gives the same as dictionaries"
        ) from error
    return pandas.DataFrame(list(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The first rows as an HTML table."""
    shown, names = rows[:N_SHOWN], list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in shown)
    more = f"<p>and {len(rows) - N_SHOWN} more rows</p>" if len(rows) > N_SHOWN else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return escape(str(value))
