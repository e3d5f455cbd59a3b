"""Writes a cache's files in another form: to a folder, an object store, a ZIP or an HDF5 file; whole or not at all."""

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
from .archives.hdf5_writer import HdfWriter
from .archives.zip import ZipWriter
from .format.manifest import COPY, MANIFEST, Manifest
from .format.samples import TABLE
from .storage.atomic import TEMPORARY_SUFFIX, remove_folder, sync_folder, write_durably
from .storage.location import Location
from .storage.locks import LOCK, hold_lock
from .storage.paths import Place
from .storage.remote import Remote

WRITERS, REMOTE_WRITERS = 4, 16
"""Files that are written to a folder or an object store at once."""


class Sink(Protocol):
    """Where a cache's files go, the metadata of an array before its shards, and last what says what there is."""

    def add(self, path: str, content: bytes) -> None:
        """Write a file; it may wait for others."""

    def flush(self) -> None:
        """Wait until all files are written; no more shards come."""

    def close(self) -> None:
        """Wait and end, also after a failure."""


class FolderWriter:
    """Writes files to a folder or an object store, several at once.

    Args:
        root: the folder.
    """

    def __init__(self, root: Location) -> None:
        self._root, self._n_writers = root, REMOTE_WRITERS if isinstance(root, Remote) else WRITERS
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


def tables_of(files: Place, manifest: Manifest) -> tuple[list[str], list[str]]:
    """The files of a cache that are no shards: those that come before the shards, and those that come after them."""
    return [*sorted(manifest.metadata), TABLE], [name for name in (MANIFEST, COPY) if (files / name).exists()]


@contextmanager
def writing(out: Location, form: str) -> Iterator[Sink]:
    """Gives where to put the files; when the block ends, `out` is whole, or, if it ends with an error, absent.

    Args:
        out: where nothing is.
        form: `zip`, `hdf5`, or `zarr` for a folder.
    """
    if isinstance(out, Remote):
        with _writing_remote(out) as sink:
            yield sink
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=TEMPORARY_SUFFIX, dir=out.parent))
    try:
        with _filling(own / out.name, form) as sink:
            yield sink
        if out.exists():
            raise CacheError(
                f"{out}: exists now, which it did not when the export began; give a new name, or remove it"
            )
        (own / out.name).rename(out)
    finally:
        remove_folder(own)
    sync_folder(out.parent)


@contextmanager
def _writing_remote(out: Remote) -> Iterator[Sink]:
    """The manifest comes last: without it there is no cache for readers."""
    with hold_lock(out):
        sink = FolderWriter(out)
        try:
            yield sink
            sink.flush()
        except BaseException:
            sink.close()
            for name in out.names():
                if name != LOCK:
                    (out / name).unlink(missing_ok=True)
            raise
        sink.close()


@contextmanager
def _filling(temporary: Path, form: str) -> Iterator[Sink]:
    """A new file or folder, on the disk when the block ends."""
    if form == "zip":
        with temporary.open("xb") as file, _closing(ZipWriter(file)) as sink:
            yield sink
    elif form == "hdf5":
        with _closing(HdfWriter(temporary)) as sink:
            yield sink
    else:
        temporary.mkdir()
        (temporary / LOCK).touch()
        with _closing(FolderWriter(temporary)) as sink:
            yield sink
        return
    with temporary.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def _closing(sink: Sink) -> Iterator[Sink]:
    try:
        yield sink
        sink.flush()
    finally:
        sink.close()
