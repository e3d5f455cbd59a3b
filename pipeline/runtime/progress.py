"""Progress of long jobs: a bar in a notebook, on stderr a bar on a terminal or plain lines in a pipe, or nothing."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich import progress as bars

LINE_EVERY_S, BAR_EVERY_S = 5.0, 0.2
_LOG = logging.getLogger("textdiff")


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
        shown: whether it is shown, in a notebook or else on stderr (stdout holds results alone); by default nowhere.
        stdout_is_taken: whether stdout is to hold one JSON object and nothing else.
    """

    def __init__(self, *, shown: bool = False, stdout_is_taken: bool = False) -> None:
        self._shown, self._stdout_is_taken = shown, stdout_is_taken

    def announce(self, line: str) -> None:
        """Show a line without which the work cannot be used while it runs (an address), in a library call too."""
        print(line, file=sys.stderr if self._stdout_is_taken else sys.stdout, flush=True)

    def say(self, line: str) -> None:
        """Show one line of text."""
        if self._shown:
            # Not on a notebook's stderr, which it shows as an error; rich puts the line above a bar.
            print(line, file=sys.stdout if in_notebook() else sys.stderr, flush=True)

    def warn(self, line: str) -> None:
        """Show one line on something that the user has to know; in a library call the logger `textdiff` gets it."""
        if self._shown:
            self.say(f"warning: {line}")
        else:
            _LOG.warning(line)

    @contextmanager
    def task(self, label: str, total: int, noun: str) -> Iterator[Task]:
        """Follow the work on `total` things named `noun`; yields the object to advance."""
        if not self._shown:
            yield Task(label, total, noun)
        elif in_notebook():
            with _notebook_bar() as show:
                yield Task(label, total, noun, show)
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


def progress_of(wanted: Progress | bool | None) -> Progress:
    """The progress that a call of the Python interface asks for; `None`: shown in a notebook alone."""
    if isinstance(wanted, Progress):
        return wanted
    return Progress(shown=in_notebook() if wanted is None else wanted)


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook; IPython is not imported for this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


@contextmanager
def _notebook_bar() -> Iterator[Callable[[Task], None]]:
    """A bar below the cell, which stays as a line when the work ends."""
    from IPython.display import HTML, display

    shown: list[Task] = []
    handle = display(HTML(""), display_id=True)

    def show(task: Task) -> None:
        shown[:] = [task]
        if time.monotonic() - task.shown >= BAR_EVERY_S:
            task.shown = time.monotonic()
            handle.update(HTML(f'<progress max="{task.total}" value="{task.done}"></progress> {escape(task.line())}'))

    yield show
    for task in shown:
        handle.update(HTML(escape(task.line())))


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
