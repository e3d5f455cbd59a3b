"""Progress of long jobs on stderr: a bar on a terminal, plain lines in a pipe, nothing in a library call."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich import progress as bars

LINE_EVERY_S = 5.0


class Task:
    """One counted piece of work: `total` things named `noun`."""

    def __init__(self, label: str, total: int, noun: str, show: Callable[[Task], None] = lambda task: None) -> None:
        self.label, self.total, self.noun = label, total, noun
        self.done, self.figures = 0, ""
        self.started = self.shown = time.monotonic()
        self._show = show

    def advance(self, n: int = 1, **figures: float) -> None:
        """Count `n` more as done and show the latest `figures` (a loss, say)."""
        self.done += n
        self.figures = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._show(self)

    def rate(self) -> float:
        """Things done in a second."""
        return self.done / max(time.monotonic() - self.started, 1e-9)

    def line(self) -> str:
        """The state of the work."""
        left = f"{(self.total - self.done) / self.rate():.0f} s left" if 0 < self.done < self.total else ""
        elapsed, rate = f"{time.monotonic() - self.started:.0f} s", f"{self.rate():.3g} {self.noun}/s"
        parts = f"{self.label}: {self.done}/{self.total} {self.noun}", elapsed, rate, left, self.figures
        return ", ".join(part for part in parts if part)


class Progress:
    """Progress of a command.

    Args:
        shown: whether on stderr (stdout holds results alone); by default, as in a library call, nowhere.
    """

    def __init__(self, *, shown: bool = False) -> None:
        self._shown = shown

    def say(self, line: str) -> None:
        """Show one line of text."""
        if self._shown:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - rich puts it above a bar

    @contextmanager
    def task(self, label: str, total: int, noun: str) -> Iterator[Task]:
        """Follow the work on `total` things named `noun`; yields the object to advance."""
        if not self._shown:
            yield Task(label, total, noun)
        elif sys.stderr.isatty():
            with _bar(noun) as bar:
                row = bar.add_task(label, total=total, rate="", figures="")

                def show(task: Task) -> None:
                    bar.update(row, completed=task.done, rate=f"{task.rate():.3g} {noun}/s,", figures=task.figures)

                yield Task(label, total, noun, show)
        else:
            task = Task(label, total, noun, self._say_now_and_then)
            yield task
            self.say(task.line())

    def _say_now_and_then(self, task: Task) -> None:
        if time.monotonic() - task.shown >= LINE_EVERY_S and task.done < task.total:
            task.shown = time.monotonic()
            self.say(task.line())


def _bar(noun: str) -> bars.Progress:
    from rich import progress as bars
    from rich.console import Console

    return bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {noun}"),
        bars.TextColumn("{task.fields[rate]}", markup=False),
        bars.TimeElapsedColumn(),
        bars.TextColumn("done,"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("left"),
        bars.TextColumn("{task.fields[figures]}", markup=False),
        console=Console(stderr=True, highlight=False),
    )
