"""A cache in one HDF5 file: a dataset for each array, a chunk for each row, and the other files as they are.

Chunks are written without a filter, so that a row is a range of the file: HDF5 is asked once where an array's rows lie,
and then they are read as those of a folder are. A shard's index follows from which rows are there, and its checksums
are kept beside the arrays: so `HdfShard` gives the very bytes that the shard has in a folder, for all who check them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from ...errors import CacheCorruptError
from ..format.layout import ArrayLayout
from ..format.shard import ABSENT
from ..format.zarr_metadata import METADATA, layout_of_metadata
from ..storage.byte_ranges import CRC_BYTES, Bytes, FileRange, bytes_of, cut_short
from ..storage.paths import ARCHIVE_REPAIR, Archive, Archived

FILES, CHECKSUMS = "files", "checksums"
"""Groups of the HDF5 file: of the cache's files that are no shards, and of its rows' checksums."""
SHARDS = "/c/"
"""In a shard's path, between its array and its number."""
NOWHERE = -1
"""The place of a row that is not there."""


@dataclass(frozen=True)
class HdfArray:
    """Where an array's rows lie in the file."""

    layout: ArrayLayout
    offsets: npt.NDArray[np.int64]
    """[row]; `NOWHERE` for a row that is not there."""
    checksums: npt.NDArray[np.uint32]
    """[row], CRC32C."""

    def shards(self) -> set[str]:
        """The paths of those of which a row is there."""
        groups = np.flatnonzero(self.offsets != NOWHERE) // self.layout.rows_per_shard
        return {self.layout.shard_path(group) for group in np.unique(groups).tolist()}

    def positions(self, group: int) -> list[int]:
        """Which rows of a shard are there."""
        size = self.layout.rows_per_shard
        return np.flatnonzero(self.offsets[group * size : (group + 1) * size] != NOWHERE).tolist()


class HdfArchive(Archive):
    """What an HDF5 file holds; arrays are looked up when they are first asked for.

    Args:
        file: the HDF5 file.

    Raises:
        CacheCorruptError: if it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self.file, self._lock = file, threading.Lock()
        self._arrays: dict[str, HdfArray] = {}
        self._mapped: FileRange | None = None
        with _reading(file) as content:
            texts: dict[str, bytes] = {}
            if FILES in content:
                content[FILES].visititems(lambda name, found: _add_text(texts, name, found))
            arrays = [name for name, text in texts.items() if is_array(name, text)]
        self._files, self._array_names = texts, frozenset(name.removesuffix(f"/{METADATA}") for name in arrays)

    def names(self) -> list[str]:
        """As `Archive`."""
        return [*self._files, *(shard for name in self._array_names for shard in self._array(name).shards())]

    def holds(self, path: str) -> bool:
        """As `Archive`."""
        files = self._files
        return path in files or any(name.startswith(f"{path}/") for name in files) or self._shard(path) is not None

    def read_bytes(self, place: Archived) -> bytes:
        """As `Archive`."""
        return self._files[place.path] if place.path in self._files else super().read_bytes(place)

    def source(self, place: Archived) -> HdfShard:
        """As `Archive`."""
        shard = self._shard(place.path)
        if shard is None:
            raise FileNotFoundError(str(place))
        return HdfShard(place, self, *shard)

    def _shard(self, path: str) -> tuple[HdfArray, int] | None:
        """The array and the number of the shard that is called so, if a row of it is there."""
        name, _, place = path.partition(SHARDS)
        group = place.partition("/")[0]
        if name not in self._array_names or not group.isdecimal():
            return None
        array = self._array(name)
        is_there = path == array.layout.shard_path(int(group)) and array.positions(int(group))
        return (array, int(group)) if is_there else None

    def _array(self, name: str) -> HdfArray:
        """Where the rows of an array lie."""
        with self._lock:
            if name not in self._arrays:
                self._arrays[name] = self._look_up(name)
            return self._arrays[name]

    def mapped(self) -> FileRange:
        """The whole file, mapped."""
        with self._lock:
            if self._mapped is None:
                whole = FileRange(self.file)
                whole.hold()
                whole.close()
                self._mapped = whole
            return self._mapped

    def _look_up(self, name: str) -> HdfArray:
        with _reading(self.file) as content:
            layout, n_rows = layout_of_metadata(name, self._files[f"{name}/{METADATA}"])
            offsets = np.full(n_rows, NOWHERE, np.int64)
            content[name].id.chunk_iter(lambda chunk: offsets.put(chunk.chunk_offset[0], chunk.byte_offset))
            return HdfArray(layout, offsets, content[f"{CHECKSUMS}/{name}"][:])


def is_array(path: str, content: bytes) -> bool:
    """Whether a file is the metadata of an array."""
    return path.endswith(f"/{METADATA}") and json.loads(content)["node_type"] == "array"


@contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """The HDF5 file, open for as long as something is looked up: handles of it work in no other process."""
    import h5py

    try:
        with h5py.File(file, "r") as content:
            yield content
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise CacheCorruptError(f"{file}: not a whole HDF5 file of a cache ({error}); {ARCHIVE_REPAIR}") from error


def _add_text(texts: dict[str, bytes], name: str, found: Any) -> None:  # noqa: ANN401
    if hasattr(found, "shape"):
        texts[name] = found[()].tobytes()


class HdfShard:
    """The bytes that a shard has in a folder; only their rows lie in the HDF5 file as they are.

    Args:
        place: the shard.
        archive: the HDF5 file.
        array: of the shard.
        group: its number.
    """

    def __init__(self, place: Archived, archive: HdfArchive, array: HdfArray, group: int) -> None:
        self._place, self._archive, self._file = place, archive, FileRange(archive.file, place=place)
        positions, first = array.positions(group), group * array.layout.rows_per_shard
        self._step = array.layout.row_bytes + CRC_BYTES
        self._offsets = array.offsets[first:][positions]
        self._checksums = array.checksums[first:][positions]
        index = np.full((array.layout.rows_per_shard, 2), ABSENT, "<u8")
        index[positions, 0] = np.arange(len(positions)) * self._step
        index[positions, 1] = self._step
        self._end = index.tobytes() + bytes_of(google_crc32c.value(index.tobytes()))

    @property
    def size_bytes(self) -> int:
        """As `ByteSource`."""
        return len(self._offsets) * self._step + len(self._end)

    def lacks(self, end: int) -> bool:
        """As `ByteSource`."""
        return end > self.size_bytes

    def tail(self, size: int) -> bytes:
        """As `ByteSource`."""
        if size <= len(self._end):
            return self._end[len(self._end) - size :]
        rows = np.empty((len(self._offsets), self._step), np.uint8)
        for row, offset, checksum in zip(rows, self._offsets.tolist(), self._checksums.tolist(), strict=True):
            self._file.read_into(row[:-CRC_BYTES], offset)
            row[-CRC_BYTES:] = np.frombuffer(bytes_of(checksum), np.uint8)
        return (rows.tobytes() + self._end)[-size:]

    def read_row(self, offset: int, size: int, out: Bytes | None) -> tuple[int, int]:
        """As `ByteSource`."""
        start, stored = self._find(offset, size)
        return self._file.read_checking(start, size, out), stored

    def hold(self) -> None:
        """As `ByteSource`: maps the whole file, once for all its shards."""
        self._archive.mapped()

    def row(self, offset: int, size: int) -> tuple[Bytes, int]:
        """As `ByteSource`: a view of the mapped file."""
        start, stored = self._find(offset, size)
        data, _ = self._archive.mapped().row(start, size)
        if data.size != size:
            raise cut_short(self._place)
        return data, stored

    def close(self) -> None:
        """As `ByteSource`."""
        self._file.close()

    def _find(self, offset: int, size: int) -> tuple[int, int]:
        """Where a row of the shard lies in the HDF5 file, and its checksum."""
        number, rest = divmod(offset, self._step)
        if rest or size != self._step - CRC_BYTES or number >= len(self._offsets):
            raise cut_short(self._place)
        return int(self._offsets[number]), int(self._checksums[number])
