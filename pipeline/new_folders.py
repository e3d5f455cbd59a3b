"""Folders that a command makes before it knows that it can go on: they stay only if something came into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Remove a new folder if what happens within fails before anything but empty files (a lock) is in it."""
    try:
        yield
    except BaseException:
        if folder.is_dir() and all(path.is_file() and not path.stat().st_size for path in folder.iterdir()):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        raise
