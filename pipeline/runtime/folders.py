"""One process at a time writes to a run, a UNet under training, or an ablation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portalocker import LockFlags

from ...cache.storage.locks import try_lock
from ...errors import RunError


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder, which is made where it is absent.

    The folder itself is locked, so that no file is left in it; Windows opens no folders, and has a file for it. The
    lock is freed when the process that holds it ends.

    Raises:
        RunError: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, mode = (folder, os.O_RDONLY) if os.name == "posix" else (folder / ".lock", os.O_RDWR | os.O_CREAT)
    handle = os.open(path, mode)
    try:
        if not try_lock(handle, LockFlags.EXCLUSIVE):
            raise RunError(f"{folder}: another process is writing to it; wait until it ends")
        yield
    finally:
        os.close(handle)
