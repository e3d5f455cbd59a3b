"""What `cache export` can be told: as `config.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ...cache.storage.location import Location
from .validation import not_among, refuse

Form = Literal["hdf5", "zip", "zarr"]
SUFFIXES: dict[Form, tuple[str, ...]] = {"hdf5": (".h5", ".hdf5"), "zip": (".zip",)}
"""What the names of one file end in."""


@dataclass(frozen=True)
class CacheExportConfig:
    """Settings of `cache export`."""

    cache: Location
    """A whole cache: a folder, a ZIP or HDF5 file, or an URL."""
    out: Location
    """The file (.zip, .h5), or the folder or URL, to write; nothing may be there."""
    to: Form
    """One HDF5 file, one ZIP file, or a folder (`zarr`) again; all of them are read alike, a folder alone can grow."""

    unfinished: ClassVar[str] = "nothing was written: repeat the command"

    def __post_init__(self) -> None:
        """Refuse a name that would tell readers another form.

        Raises:
            ConfigError: as said.
        """
        refuse(not_among("--to", self.to, get_args(Form)), self._bad_name())

    def _bad_name(self) -> str | None:
        suffix, expected = self.out.suffix.lower(), SUFFIXES.get(self.to)
        if expected and suffix not in expected:
            return f"{self.out}: expected a name that ends in {' or '.join(expected)} for --to {self.to}"
        if expected is None and any(suffix in known for known in SUFFIXES.values()):
            return f"{self.out}: expected a folder's name for --to {self.to}, not one that ends in {suffix}"
        return None
