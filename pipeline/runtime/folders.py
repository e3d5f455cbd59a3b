"""Folders that commands write to: one process at a time, and none left behind empty."""

from __future__ import annotations

import os
import shutil
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
        RunError: if another process holds it, or a file stands in its place.
    """
    in_the_way = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if in_the_way.exists() and not in_the_way.is_dir():
        raise RunError(f"{in_the_way} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    path, mode = (folder, os.O_RDONLY) if os.name == "posix" else (folder / ".lock", os.O_RDWR | os.O_CREAT)
    handle = os.open(path, mode)
    try:
        if not try_lock(handle, LockFlags.EXCLUSIVE):
            raise RunError(f"{folder}: another process is writing to it; wait until it ends")
        yield
    finally:
        os.close(handle)


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Remove a new folder if the block fails before the folder holds anything but empty files (a lock)."""
    try:
        yield
    except BaseException:
        remove_if_empty(folder)
        raise


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but empty files, in folders or not; the caller holds its lock."""
    if folder.is_dir() and not any(path.is_file() and path.stat().st_size for path in folder.rglob("*")):
        shutil.rmtree(folder)
