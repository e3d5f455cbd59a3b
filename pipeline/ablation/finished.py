"""Journal of finished jobs, keyed by everything that their results depend on, so that a repeated command resumes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cache.storage.atomic import append_line, canonical_json, read_lines, write_durably
from ...errors import RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Journal:
    """Results of finished jobs, a line of JSON each; lines are only ever added.

    Args:
        path: of the file; need not exist yet.

    Raises:
        RunError: if the file is not such a journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            lines = read_lines(path)
            self._results = {canonical_json(line["identity"]): line["result"] for line in lines}
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: not a journal of finished heads ({error!r}); remove it to begin anew") from error
        write_durably(path, [canonical_json(line) + b"\n" for line in lines])  # without a line that a crash cut short

    def result(self, identity: DataclassInstance) -> dict[str, Any] | None:
        """The recorded result of a job; `None`: it is not finished."""
        return self._results.get(canonical_json(asdict(identity)))

    def record(self, identity: DataclassInstance, result: dict[str, Any]) -> None:
        """Keep a job's result, durably."""
        append_line(self._path, {"identity": asdict(identity), "result": result})
        self._results[canonical_json(asdict(identity))] = result
