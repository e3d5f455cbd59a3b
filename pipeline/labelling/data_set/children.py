"""Commands of `textdiff` in processes of their own: what takes long and may fail leaves the session as it was."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from ....errors import RunError
from ...runtime.process import NICENESS

STOP_S = 10.0
"""For a child to end after it was asked to; what it finished is kept."""
_SHOWN = 12
"""Last lines of a failed command."""


class Child:
    """At most one command at a time, which `stop` ends from another thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def run(self, command: str, say: Callable[[str], None]) -> str:
        """Run a command line to its end.

        Args:
            command: as a shell takes it, `textdiff` first.
            say: gets each line of its progress.

        Returns:
            What it wrote to stdout.

        Raises:
            RunError: if it failed, with its own message, or was stopped.
        """
        arguments = [sys.executable, "-m", __package__.partition(".")[0], *shlex.split(command)[1:]]
        with subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONUTF8": "1"},
        ) as process:
            self._process = process
            _give_way(process.pid)
            if self.stopped:  # before there was a process to stop
                process.terminate()
            lines = _Lines(process, say)
            output = process.stdout.read() if process.stdout else ""
            lines.join()
        self._process = None
        if process.returncode:
            why = "was stopped" if self.stopped else "\n".join(lines.last) or f"ended with code {process.returncode}"
            raise RunError(f"{command}\n{why}")
        return output

    def stop(self) -> None:
        """End the command, as Ctrl-C does; after `STOP_S` it is killed."""
        self._stopped.set()
        if (process := self._process) is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _give_way(pid: int) -> None:
    """Let a process compute when nobody draws or looks at images; where the system has such priorities."""
    if hasattr(os, "setpriority"):
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


class _Lines(threading.Thread):
    """Reader of a process's stderr; keeps the last lines."""

    def __init__(self, process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self.last: list[str] = []
        self._process, self._say = process, say
        self.start()

    def run(self) -> None:
        for line in self._process.stderr or ():
            if text := line.strip():
                self.last = [*self.last[1 - _SHOWN :], text]
                self._say(text)
