"""Where `cache export` writes a cache's files: a folder, an object store or an HDF5 file; whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import CacheError
from .hdf5 import HdfWriter
from .storage.atomic import TEMPORARY_SUFFIX, sync_folder, write_durably
from .storage.location import Location, on_disk, remove_folder
from .storage.locks import LOCK

WRITERS, REMOTE_WRITERS = 4, 16
"""Files that are written to a folder or an object store at once."""


class Sink(Protocol):
    """Where a cache's files go: the metadata of an array before its shards, and the manifest last."""

    def add(self, path: str, content: bytes) -> None:
        """Write a file; it may wait for others."""

    def flush(self) -> None:
        """Wait until all files are written."""

    def close(self) -> None:
        """Wait and end, also after a failure."""


class FolderWriter:
    """Writes files to a folder or an object store, several at once.

    Args:
        root: the folder.
    """

    def __init__(self, root: Location) -> None:
        self._root, self._n_writers = root, WRITERS if on_disk(root) else REMOTE_WRITERS
        self._pool, self._waiting = ThreadPoolExecutor(self._n_writers), deque[Future[int]]()

    def add(self, path: str, content: bytes) -> None:
        """As `Sink`."""
        while len(self._waiting) >= self._n_writers:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(write_durably, self._root / path, [content]))

    def flush(self) -> None:
        """As `Sink`."""
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """As `Sink`."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def writing(out: Location, *, hdf5: bool) -> Iterator[Sink]:
    """Gives where to put the files; when the block ends, `out` is whole, or, if it ends with an error, absent.

    Args:
        out: where nothing is.
        hdf5: whether to make one HDF5 file of them, on a disk.
    """
    if (path := on_disk(out)) is None:
        with _writing_remote(out) as sink:
            yield sink
        return
    with whole_or_absent(path) as temporary:
        if hdf5:
            with _closing(HdfWriter(temporary)) as sink:
                yield sink
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        else:
            make_folder(temporary)
            with _closing(FolderWriter(temporary)) as sink:
                yield sink


@contextmanager
def whole_or_absent(out: Path) -> Iterator[Path]:
    """Gives a new path beside `out`; what is there when the block ends without an error becomes `out`.

    Raises:
        CacheError: if something is at `out` by then.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=TEMPORARY_SUFFIX, dir=out.parent))
    try:
        yield own / out.name
        if out.exists():
            raise CacheError(
                f"{out}: exists now, which it did not when the export began; give a new name, or remove it"
            )
        (own / out.name).rename(out)
    finally:
        remove_folder(own)
    sync_folder(out.parent)


def make_folder(folder: Path) -> None:
    """Make the folder of a cache, with its lock file."""
    folder.mkdir()
    (folder / LOCK).touch()


@contextmanager
def _writing_remote(out: Location) -> Iterator[Sink]:
    """The manifest comes last: without it there is no cache for readers."""
    try:
        with _closing(FolderWriter(out)) as sink:
            yield sink
    except BaseException:
        remove_folder(out)
        raise


@contextmanager
def _closing(sink: Sink) -> Iterator[Sink]:
    try:
        yield sink
        sink.flush()
    finally:
        sink.close()
