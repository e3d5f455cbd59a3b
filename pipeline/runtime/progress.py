"""How long jobs say where they are: a bar on a terminal, plain lines in a pipe, nothing in a library call.

Everything goes to stderr, so that stdout holds results alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich import progress as bars

LINE_EVERY_S = 5.0


class Task(Protocol):
    """One counted piece of work."""

    def advance(self, n: int = 1, **figures: float) -> None:
        """Count `n` more units as done and show the latest `figures` (a loss, say)."""


class Progress:
    """Says nothing: the default of the Python API, and the interface of the others."""

    def say(self, line: str) -> None:
        """Show one line of text."""

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Follow a piece of work of `total` units named `unit`; yields the object to advance."""
        del label, total, unit
        yield _SilentTask()


class _SilentTask:
    def advance(self, n: int = 1, **figures: float) -> None:
        pass


class LineProgress(Progress):
    """Plain lines, one at most every `LINE_EVERY_S` seconds a task: for pipes and log files."""

    def say(self, line: str) -> None:
        """Show one line of text."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Follow a piece of work; the last line is always shown."""
        task = _LineTask(self, label, total, unit)
        yield task
        task.finish()


class _LineTask:
    def __init__(self, progress: Progress, label: str, total: int, unit: str) -> None:
        self._progress, self._label, self._total, self._unit = progress, label, total, unit
        self._done, self._figures = 0, ""
        self._started = self._shown = time.monotonic()

    def advance(self, n: int = 1, **figures: float) -> None:
        self._done += n
        self._figures = _figures(figures)
        if time.monotonic() - self._shown >= LINE_EVERY_S and self._done < self._total:
            self._show()

    def finish(self) -> None:
        self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        elapsed_s = max(self._shown - self._started, 1e-9)
        rate = self._done / elapsed_s
        left = f", {(self._total - self._done) / rate:.0f} s left" if 0 < self._done < self._total else ""
        self._progress.say(
            f"{self._label}: {self._done}/{self._total} {self._unit}, {elapsed_s:.0f} s, "
            f"{rate:.3g} {self._unit}/s{left}{self._figures}"
        )


class TerminalProgress(Progress):
    """A bar with rate and remaining time, drawn by rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        """Show one line of text."""
        self._console.print(line, markup=False)

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Follow a piece of work with a bar."""
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
            bars.TextColumn("{task.fields[rate]}", markup=False),
            bars.TimeElapsedColumn(),
            bars.TextColumn("done,"),
            bars.TimeRemainingColumn(),
            bars.TextColumn("left"),
            bars.TextColumn("{task.fields[figures]}", markup=False),
        )
        with bars.Progress(*columns, console=self._console) as bar:
            yield _BarTask(bar, label, total, unit)


class _BarTask:
    def __init__(self, bar: bars.Progress, label: str, total: int, unit: str) -> None:
        self._bar, self._unit = bar, unit
        self._task_id = bar.add_task(label, total=total, figures="", rate="")
        self._done, self._started = 0, time.monotonic()

    def advance(self, n: int = 1, **figures: float) -> None:
        self._done += n
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        told = f"{rate:.3g} {self._unit}/s,"
        self._bar.update(self._task_id, advance=n, figures=_figures(figures).removeprefix(", "), rate=told)


def _figures(figures: dict[str, float]) -> str:
    return "".join(f", {name} {value:.4g}" for name, value in figures.items())


def for_stderr() -> Progress:
    """The progress that suits stderr: a bar on a terminal, lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()
