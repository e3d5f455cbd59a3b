"""Terminal and environment of a command: what it prints, and names, where neither has room for every letter.

Python reads names and arguments in the locale's encoding. In the C locale with its UTF-8 mode forced off
(PYTHONUTF8=0) that is ASCII, and a path with any other letter can be neither read nor written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper

REMEDY = "set PYTHONUTF8=1, or LC_ALL=C.UTF-8"


def prepare_streams() -> None:
    """Have stdout and stderr escape letters that their encoding lacks, in place of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")


def unreadable_arguments(arguments: Sequence[str]) -> str | None:
    """A line for arguments of letters that this environment cannot read; `None`: it reads all.

    A warning goes to stderr where names of other letters would not be found.
    """
    if not "ä".encode(sys.getfilesystemencoding(), "ignore"):
        if not all(argument.isascii() for argument in arguments):
            return f"error: this environment reads names and texts as ASCII, and these have other letters; {REMEDY}"
        print(f"warning: files whose names are not ASCII cannot be read here; {REMEDY}", file=sys.stderr)  # noqa: T201
    return None


@contextmanager
def output_explained() -> Iterator[None]:
    """Say in one line that stdout cannot be written to, and exit with 1: a command's own errors end within it."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            print(f"error: the output cannot be written: {error.strerror or error}", file=sys.stderr)  # noqa: T201
        # What is left in its buffer would be tried again at exit.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
