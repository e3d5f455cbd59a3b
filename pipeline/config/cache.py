"""Settings of the `cache` commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ...cache.storage.location import Location
from .validation import CommandConfig, one_file

Form = Literal["hdf5", "zip", "zarr"]

SUFFIXES: dict[Form, tuple[str, ...]] = {"hdf5": (".h5", ".hdf5"), "zip": (".zip",)}
"""What the names of one file end in."""


@dataclass(frozen=True)
class CacheInfoConfig(CommandConfig):
    """Settings of `cache info`."""

    cache: Location
    """The feature cache: a folder, a ZIP or HDF5 file, or an URL."""


@dataclass(frozen=True)
class CacheVerifyConfig(CommandConfig):
    """Settings of `cache verify`."""

    cache: Location
    """The feature cache: a folder, a ZIP or HDF5 file, or an URL."""

    # What the command line says where it could not finish.
    unfinished: ClassVar[str] = "nothing was changed: repeat the command"


@dataclass(frozen=True)
class CacheExportConfig(CommandConfig):
    """Settings of `cache export`."""

    cache: Location
    """A whole cache: a folder, a ZIP or HDF5 file, or an URL."""
    out: Location
    """The file (.zip, .h5), or the folder or URL, to write; nothing may be there."""
    to: Form
    """One HDF5 file, one ZIP file, or a folder (`zarr`) again; all of them are read alike, a folder alone can grow."""

    unfinished: ClassVar[str] = "nothing was written: repeat the command"

    def contradictions(self) -> Iterator[str]:
        """A name by which readers would take the cache for one of another form."""
        suffix, expected = self.out.suffix.lower(), SUFFIXES.get(self.to)
        if expected and suffix not in expected:
            yield f"{self.out}: expected a name that ends in {' or '.join(expected)} for --to {self.to}"
        if expected is None and any(suffix in known for known in SUFFIXES.values()):
            yield f"{self.out}: expected a folder's name for --to {self.to}, not one that ends in {suffix}"


@dataclass(frozen=True)
class MergeConfig(CommandConfig):
    """Settings of `cache merge`."""

    out: Path
    """The cache's folder; must not hold another cache."""
    parts: tuple[Path, ...]
    """The folders of all parts of one extraction, as `extract-features --num-parts N --part-id K` made them."""

    unfinished: ClassVar[str] = "the parts are as they were: repeat the command, which goes on"

    def contradictions(self) -> Iterator[str | None]:
        """Folders that are named twice, or are none."""
        folders = [path.resolve() for path in (self.out, *self.parts)]
        if twice := sorted({str(path) for path in folders if folders.count(path) > 1}):
            yield f"the same folder was given twice: {', '.join(twice)}; give each once"
        if urls := [str(path) for path in (self.out, *self.parts) if re.match(r"[a-zA-Z][\w+.-]+:/", str(path))]:
            yield f"got {', '.join(urls)}; `cache merge` works on folders: copy them to a disk"
        yield one_file(self.out)
