"""One process at a time writes to a run, a UNet under training, or an ablation."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import RunError


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder, which is made where it is not there yet.

    The folder itself is locked, so that no file tells of it; the lock goes with the process that holds it, however that
    ends.

    Raises:
        RunError: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(f"{folder}: another process is writing to it; wait until it ends") from error
