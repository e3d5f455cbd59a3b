"""Ctrl-C, and the SIGTERM of schedulers: both stop the work in the same way.

Within `terminations_raised` a SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt; within
`interrupts_held` both wait for the end of a step.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], Any]


class Terminated(KeyboardInterrupt):
    """A SIGTERM, handled as Ctrl-C is."""


class StopRequest:
    """The signal, if any, that asked the work to stop."""

    def __init__(self) -> None:
        self._number: int | None = None

    def is_set(self) -> bool:
        """Whether a signal asked."""
        return self._number is not None

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Keep a signal for later; at a second one, stop at once."""
        if self._number is not None:
            _raise(number, frame)
        self._number = number

    def stop(self) -> None:
        """Stop if a signal asked.

        Raises:
            KeyboardInterrupt: after a Ctrl-C; `Terminated` after a SIGTERM.
        """
        if self._number is not None:
            _raise(self._number, None)


@contextmanager
def interrupts_held() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request, so that no step is cut in half; a second one takes effect at once."""
    request = StopRequest()
    with _handled(request.ask, SIGNALS):
        yield request


@contextmanager
def terminations_raised() -> Iterator[None]:
    """Let a SIGTERM raise `Terminated`, so that work in progress is cleaned up."""
    with _handled(_raise, (signal.SIGTERM,)):
        yield


@contextmanager
def _handled(handler: Handler, signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield
        return
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, before in previous.items():
            # `None`: a handler that was not installed from Python, and cannot be restored.
            signal.signal(number, signal.SIG_DFL if before is None else before)


def _raise(number: int, frame: FrameType | None) -> None:
    del frame
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
