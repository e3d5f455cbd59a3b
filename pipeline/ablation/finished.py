"""A record of what is finished, so that repeating a command goes on: results by all that they depend on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cache.storage.atomic import append_line, canonical_json, read_lines, write_durably
from ...errors import RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Journal:
    """Finished cells, a line of JSON each; lines are only ever added.

    Args:
        path: of the file; need not exist yet.

    Raises:
        RunError: if the file is not such a record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            lines = read_lines(path)
            self._found = {canonical_json(line["identity"]): line["result"] for line in lines}
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: not a record of finished cells ({error!r}); remove it to begin anew") from error
        write_durably(path, [canonical_json(line) + b"\n" for line in lines])  # without a line that a crash cut short

    def result(self, identity: DataclassInstance) -> dict[str, Any] | None:
        """What was recorded for a cell; `None`: it is still to be computed."""
        return self._found.get(canonical_json(asdict(identity)))

    def record(self, identity: DataclassInstance, result: dict[str, Any]) -> None:
        """Keep a cell's result, durably."""
        append_line(self._path, {"identity": asdict(identity), "result": result})
        self._found[canonical_json(asdict(identity))] = result
