"""Folders that a command makes before it knows that it can go on: they stay only if something came into them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Remove a new folder if what happens within fails before anything but empty files (a lock) is in it."""
    try:
        yield
    except BaseException:
        remove_if_empty(folder)
        raise


def remove_if_empty(folder: Path) -> None:
    """Remove a folder in which there is nothing but empty files, in folders or not; whoever calls holds its lock."""
    if folder.is_dir() and not any(path.is_file() and path.stat().st_size for path in folder.rglob("*")):
        shutil.rmtree(folder)
