"""Files in an object store, through fsspec: whole objects are written, ranges of them are read.

An object appears whole or not at all, so that there are no temporary names here. Nothing is kept of an object store's
listings, since other machines write to it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import CacheError, TextdiffError
from .paths import FOLDER_REPAIR, Stored

if TYPE_CHECKING:
    from .byte_ranges import ByteSource
    from .spool import Spool


class Remote(Stored):
    """An object, or all whose names begin alike, as a folder.

    Args:
        url: of the root: `s3://bucket/cache`.
        path: below it.
        spool: where rows that were read are kept on this machine's disk; `None`: each reading asks the store.
    """

    repair: ClassVar[str] = FOLDER_REPAIR

    def __init__(self, url: str, path: str = "", spool: Spool | None = None) -> None:
        self.root, self.path, self._spool = url.rstrip("/"), path, spool

    def __str__(self) -> str:
        """Its URL."""
        return f"{self.root}/{self.path}".rstrip("/")

    def __repr__(self) -> str:
        """As it is made."""
        return f"Remote({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same URL."""
        return isinstance(other, Remote) and str(self) == str(other)

    def __hash__(self) -> int:
        """Of the URL."""
        return hash(str(self))

    def __reduce__(self) -> tuple[type[Remote], tuple[str, str]]:
        """Sent to other processes as what it is called."""
        return Remote, (self.root, self.path)

    def _at(self, path: str) -> Remote:
        return Remote(self.root, path, self._spool)

    def spooled(self) -> Remote:
        """The same, keeping the rows that are read through it."""
        from .spool import Spool

        return Remote(self.root, self.path, Spool())

    def exists(self) -> bool:
        """As `Stored`."""
        try:
            with self._reaching("looked for") as (files, path):
                files.info(path)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """As `Stored`."""
        return self.read_range(None, None)

    def read_range(self, start: int | None, end: int | None) -> bytes:
        """The bytes from `start` to before `end`; a negative start counts from the end, and fewer come from less.

        Raises:
            FileNotFoundError: if there is no such object.
        """
        with self._reaching("read") as (files, path):
            try:
                return bytes(files.cat_file(path, start=start, end=end))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                return b""  # S3's answer to a range that the object does not reach

    def size_bytes(self) -> int:
        """How long the object is."""
        with self._reaching("read") as (files, path):
            return int(files.size(path))

    def write_bytes(self, content: bytes, *, new: bool = False) -> None:
        """Put the object, whole; what was there under its name is gone then.

        Args:
            content: of the object.
            new: whether there must be none yet. Stores that cannot tell are asked first.

        Raises:
            FileExistsError: if there is one and must not be.
        """
        with self._reaching("written", missing=CacheError) as (files, path):
            try:
                files.pipe_file(path, content, mode="create" if new else "overwrite")
            except OSError as error:
                if new and self.exists():
                    raise FileExistsError(str(self)) from error
                raise

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        try:
            with self._reaching("removed") as (files, path):
                files.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_below(self) -> None:
        """Remove every object below."""
        for name in sorted(self.names(), reverse=True):
            (self / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """As `Stored`."""
        try:
            with self._reaching("listed") as (files, path):
                return [found.removeprefix(path).removeprefix("/") for found in files.find(path)]
        except FileNotFoundError:
            return []

    def source(self) -> ByteSource:
        """As `Stored`."""
        from .spool import RemoteObject

        return RemoteObject(self, self._spool)

    @contextmanager
    def _reaching(self, done: str, missing: type[Exception] = FileNotFoundError) -> Iterator[tuple[Any, str]]:
        """The file system, as this process has it, and the path there; what goes wrong is said in one way.

        Where a file that is to be read is not there is for the caller; where one is to be written, the bucket is not.
        """
        from fsspec.core import url_to_fs

        try:
            yield url_to_fs(str(self), use_listings_cache=False)
        except (FileExistsError, TextdiffError):
            raise
        except Exception as error:  # each library behind fsspec has errors of its own
            if isinstance(error, FileNotFoundError) and missing is FileNotFoundError:
                raise
            raise CacheError(
                f"{self}: cannot be {done} ({type(error).__name__}: {error}); check the address, your credentials and "
                "the network, and repeat the command"
            ) from error
