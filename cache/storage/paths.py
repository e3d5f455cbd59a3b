"""Where a cache lies: in a folder, in one file that holds a folder's files, or in an object store.

Files are named as in a folder everywhere, so that `root / name` is a file of the cache wherever the cache is: of a
folder it is a `pathlib.Path`, else a `Stored`, which has the few methods of a path that the cache's code uses.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from .byte_ranges import ByteSource

FOLDER_REPAIR = (
    "`textdiff cache verify` lists all that is damaged; the `extract-features` command that made the cache repairs it "
    "with --resume"
)
ARCHIVE_REPAIR = (
    "`textdiff cache verify` lists all that is damaged; restore the file from a backup, or export it again from the "
    "cache that it was made from"
)


class Stored(ABC):
    """A file or a folder that is no path of the operating system."""

    repair: ClassVar[str] = ARCHIVE_REPAIR
    """What to do about bytes that are not those that were written."""

    path: str
    """From the root of the cache, with forward slashes; the root's own is empty."""

    @abstractmethod
    def _at(self, path: str) -> Self:
        """What lies at another path."""

    @abstractmethod
    def __str__(self) -> str:
        """Its name for people, the root's included."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether a file or a folder is there."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The file's content.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Every file below, by its path from here."""

    @abstractmethod
    def source(self) -> ByteSource:
        """The bytes of the shard that lies here.

        Raises:
            FileNotFoundError: if there is none.
        """

    def __truediv__(self, name: str | PurePosixPath | Path) -> Self:
        """What lies below under `name`."""
        return self._at(_text(PurePosixPath(self.path, name)))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(str(self)).name

    @property
    def suffix(self) -> str:
        """What the name ends in, from its last dot on."""
        return PurePosixPath(str(self)).suffix

    @property
    def parent(self) -> Self:
        """The folder that it lies in."""
        return self._at(_text(PurePosixPath(self.path).parent))


class Archive(ABC):
    """One file that holds the files of a cache."""

    file: Path
    """Where it lies."""

    @abstractmethod
    def names(self) -> list[str]:
        """Every file in it, shards included."""

    @abstractmethod
    def holds(self, path: str) -> bool:
        """Whether `path` is a file in it, or a folder of files."""

    @abstractmethod
    def source(self, place: Archived) -> ByteSource:
        """As `Stored.source`, of what lies at `place`."""

    def read_bytes(self, place: Archived) -> bytes:
        """As `Stored.read_bytes`, of what lies at `place`."""
        source = self.source(place)
        try:
            return source.tail(source.size_bytes)
        finally:
            source.close()


class Archived(Stored):
    """A file or folder in an archive.

    Args:
        archive: the open archive.
        path: as it is called in a folder.
    """

    def __init__(self, archive: Archive, path: str = "") -> None:
        self._archive, self.path = archive, path

    def __str__(self) -> str:
        """The archive's path and the file's in it."""
        return f"{self._archive.file}/{self.path}".rstrip("/")

    def _at(self, path: str) -> Self:
        return type(self)(self._archive, path)

    def exists(self) -> bool:
        """As `Stored`."""
        return self._archive.holds(self.path)

    def read_bytes(self) -> bytes:
        """As `Stored`."""
        return self._archive.read_bytes(self)

    def names(self) -> list[str]:
        """As `Stored`."""
        below = f"{self.path}/" if self.path else ""
        return [name.removeprefix(below) for name in self._archive.names() if name.startswith(below)]

    def source(self) -> ByteSource:
        """As `Stored`."""
        return self._archive.source(self)


def _text(path: PurePosixPath) -> str:
    return "" if path == PurePosixPath() else str(path)


Place = Path | Stored
"""A file or a folder, wherever it is."""


def names_below(root: Place) -> list[str]:
    """Every file below `root`, by its path from there, with forward slashes."""
    if isinstance(root, Stored):
        return sorted(root.names())
    return [
        (Path(folder) / name).relative_to(root).as_posix()
        for folder, _, names in sorted(os.walk(root))
        for name in sorted(names)
    ]


def repair_of(place: Place) -> str:
    """What to do about bytes at `place` that are not those that were written."""
    return place.repair if isinstance(place, Stored) else FOLDER_REPAIR
