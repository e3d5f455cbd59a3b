"""Journal of finished jobs, keyed by everything that their results depend on, so that a repeated command resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cache.storage.atomic import append_line, canonical_json, read_lines, write_durably
from ...errors import RunError


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

    def result(self, identity: object) -> dict[str, Any] | None:
        """The recorded result of a job; `None`: it is not finished.

        Args:
            identity: everything that the result depends on, as JSON or dataclasses.
        """
        return self._results.get(canonical_json(identity))

    def record(self, identity: object, result: dict[str, Any]) -> None:
        """Keep a job's result, durably."""
        append_line(self._path, {"identity": identity, "result": result})
        self._results[canonical_json(identity)] = result
