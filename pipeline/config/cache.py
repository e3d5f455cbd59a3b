"""Settings of the `cache` commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ...cache.storage.location import Location
from .validation import CommandConfig, hdf5_name, one_file


@dataclass(frozen=True)
class CacheInfoConfig(CommandConfig):
    """Settings of `cache info`."""

    cache: Location
    """The feature cache: a folder or a URL."""
    out: Path | None = None
    """A JSON file to write: the settings that make the cache, for `extract-features --config`."""


@dataclass(frozen=True)
class CacheVerifyConfig(CommandConfig):
    """Settings of `cache verify`."""

    cache: Location
    """The feature cache: a folder or a URL."""

    # The state after an interrupt, for the command line's message.
    unfinished: ClassVar[str] = "nothing was changed: repeat the command"


@dataclass(frozen=True)
class CacheExportConfig(CommandConfig):
    """Settings of `cache export`."""

    cache: Location
    """A whole cache: a folder, a URL, or an HDF5 file that an export made."""
    out: Location
    """A name that ends in .h5 or .hdf5: one HDF5 file, to hand on; else the folder or URL of a cache. Nothing may be
    there."""

    unfinished: ClassVar[str] = "nothing was written: repeat the command"

    @property
    def to(self) -> Literal["hdf5", "zarr"]:
        """The form, which follows from the name."""
        return "hdf5" if hdf5_name(self.out) else "zarr"

    def contradictions(self) -> Iterator[str | None]:
        """The name of an archive that is not written."""
        if str(self.out).lower().endswith((".zip", ".tar", ".gz", ".tgz", ".7z")):
            yield f"{self.out}: got the name of an archive; expected .h5, .hdf5 or a folder, which you may pack"


@dataclass(frozen=True)
class MergeConfig(CommandConfig):
    """Settings of `cache merge`."""

    out: Path
    """The cache's folder; must not hold another cache."""
    parts: tuple[Path, ...]
    """The folders of all parts of one extraction, as `extract-features --num-parts N --part-id K` made them."""

    unfinished: ClassVar[str] = "the parts are unchanged: repeat the command to continue"

    def contradictions(self) -> Iterator[str | None]:
        """Folders that are named twice, or are none."""
        folders = [path.resolve() for path in (self.out, *self.parts)]
        if twice := sorted({str(path) for path in folders if folders.count(path) > 1}):
            yield f"the same folder was given twice: {', '.join(twice)}; give each once"
        if urls := [str(path) for path in (self.out, *self.parts) if re.match(r"[a-zA-Z][\w+.-]+:/", str(path))]:
            yield f"got {', '.join(urls)}; `cache merge` works on folders: copy them to a disk"
        yield one_file(self.out)
