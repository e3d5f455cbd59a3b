"""Files in an object store, through fsspec: objects are written and read whole.

An object appears whole or not at all, so that there are no temporary names here. No listings are kept, since other
machines write to the store.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ...errors import CacheError, TextdiffError


class RemotePath:
    """An object, or the folder of all objects whose names begin alike: as much of `pathlib.Path` as a cache needs.

    Args:
        url: `s3://bucket/cache`.
        copies: where objects that are opened are kept on this machine's disk; `None`: they are read into memory.
    """

    def __init__(self, url: str, copies: LocalCopies | None = None) -> None:
        self._url, self._copies = url.rstrip("/"), copies

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __reduce__(self) -> tuple[type[RemotePath], tuple[str]]:
        return RemotePath, (self._url,)

    def __truediv__(self, name: str | PurePosixPath | Path) -> RemotePath:
        return RemotePath(f"{self._url}/{PurePosixPath(name)}".removesuffix("/."), self._copies)

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(self._url).name

    @property
    def suffix(self) -> str:
        """The name's ending, from its last dot on."""
        return PurePosixPath(self._url).suffix

    def resolve(self) -> RemotePath:
        """Itself: a URL is the same from everywhere."""
        return self

    def exists(self) -> bool:
        """Whether there is such an object or folder."""
        try:
            with self._reaching("looked for") as (files, path):
                files.info(path)
        except FileNotFoundError:
            return False
        return True

    def is_file(self) -> bool:
        """Whether a cache at this URL is one file: never, since only folders are put into stores."""
        return False

    def read_bytes(self) -> bytes:
        """The object's content.

        Raises:
            FileNotFoundError: if there is no such object.
        """
        with self._reaching("read") as (files, path):
            return bytes(files.cat_file(path))

    def open(self, mode: Literal["rb"] = "rb", buffering: Literal[0] = 0) -> io.FileIO | io.BytesIO:
        """The object, open for reading: a file if there are local copies, else memory; arguments as of `Path.open`."""
        if self._copies is None:
            return io.BytesIO(self.read_bytes())
        return self._copies.of(self).open("rb", buffering=0)

    def download(self, file: Path) -> None:
        """Write the object to a file on this machine's disk.

        Raises:
            FileNotFoundError: if there is no such object.
        """
        with self._reaching("read") as (files, path):
            files.get_file(path, str(file))

    def write_bytes(self, content: bytes) -> int:
        """Put the object, whole, in place of one of the same name; gives its size."""
        with self._reaching("written", missing=CacheError) as (files, path):
            files.pipe_file(path, content)
        return len(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        try:
            with self._reaching("removed") as (files, path):
                files.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def names(self) -> list[str]:
        """Every object below, by its name from here."""
        try:
            with self._reaching("listed") as (files, path):
                return sorted(name.removeprefix(path).removeprefix("/") for name in files.find(path))
        except FileNotFoundError:
            return []

    @contextmanager
    def _reaching(self, done: str, missing: type[Exception] = FileNotFoundError) -> Iterator[tuple[Any, str]]:
        """The store as this process has it, and the path in it; whatever a store raises becomes one kind of error.

        An absent file is the caller's matter where it is read, and an absent bucket is an error where it is written.
        """
        from fsspec.core import url_to_fs

        try:
            yield url_to_fs(self._url, use_listings_cache=False)
        except (FileExistsError, TextdiffError):
            raise
        except Exception as error:  # each library behind fsspec has errors of its own
            if isinstance(error, FileNotFoundError) and missing is FileNotFoundError:
                raise
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise CacheError(
                    f"{self}: no room in {tempfile.gettempdir()} for a copy; set TMPDIR to a folder on a larger disk, "
                    "or export the cache to one: textdiff cache export"
                ) from error
            raise CacheError(
                f"{self}: cannot be {done} ({type(error).__name__}: {error}); check the address, your credentials and "
                "the network, and repeat the command"
            ) from error


class LocalCopies:
    """Whole objects in a temporary folder, which is removed with this, or when the process that made it ends.

    Threads, and processes forked from this one, may share it. fsspec's `simplecache` is not used for that: it downloads
    under the final name, so that a second thread reads half a file (tried with fsspec 2026.9).
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="textdiff-"))
        weakref.finalize(self, _remove, self._folder, os.getpid())

    def of(self, remote: RemotePath) -> Path:
        """The copy of an object, downloaded at the first call."""
        copy = self._folder / sha256(str(remote).encode()).hexdigest()
        if not copy.exists():
            handle, temporary = tempfile.mkstemp(dir=self._folder)
            os.close(handle)
            try:
                remote.download(Path(temporary))
                Path(temporary).replace(copy)
            finally:
                Path(temporary).unlink(missing_ok=True)
        return copy


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not at the end of a process forked from the owner
        shutil.rmtree(folder, ignore_errors=True)
