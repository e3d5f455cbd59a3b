"""One shard: consecutive rows of an array in one file, each row an inner chunk followed by its CRC32C.

The bytes are those of Zarr v3's `sharding_indexed` codec with inner codecs `bytes` (little-endian) and `crc32c`, and
the index at the end (Zarr enhancement proposal 2): for every row the offset and the number of bytes, then the CRC32C of
these numbers. A row that the shard does not hold has both set to 2^64 - 1. Encoding and reading it here, without a
generic pipeline between, lets rows be written from and mapped into memory as they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from ..errors import CacheCorruptError
from .durable import write_durably

ABSENT = np.uint64(2**64 - 1)
CRC_BYTES = 4


@dataclass(frozen=True)
class ShardRecord:
    """What the manifest says of a shard."""

    path: str
    """Relative to the cache's folder, with forward slashes."""
    size_bytes: int
    """Size of the file."""
    crc32c: str
    """CRC32C of the rows' checksums, in order, and the index: eight hexadecimal digits.

    Not of the whole file: data followed by its own CRC has a CRC that does not depend on the data.
    """


def write_shard(root: Path, path: str, rows: Mapping[int, npt.NDArray[Any]], rows_per_shard: int) -> ShardRecord:
    """Write the shard `path` under `root`, durably.

    Args:
        root: the cache's folder.
        path: the shard's place in it.
        rows: position in the shard → one row's array, all of one shape and dtype.
        rows_per_shard: how many rows the shard has room for.
    """
    pieces: list[npt.NDArray[np.uint8]] = []
    checksums: list[npt.NDArray[np.uint8]] = []
    index = np.full((rows_per_shard, 2), ABSENT, dtype="<u8")
    offset = 0
    for position in sorted(rows):
        data = _bytes_of(rows[position])
        checksums.append(_checksum(data))
        pieces += [data, checksums[-1]]
        index[position] = offset, data.size + CRC_BYTES
        offset += data.size + CRC_BYTES
    pieces += [_bytes_of(index), _checksum(_bytes_of(index))]
    write_durably(root / path, (piece.data for piece in pieces))
    told = google_crc32c.value(np.concatenate([*checksums, _bytes_of(index)]))
    return ShardRecord(path, sum(piece.size for piece in pieces), f"{told:08x}")


class ShardFile:
    """A shard mapped into memory; a row's checksum is checked when the row is first asked for.

    Args:
        path: the file.
        row_shape: shape of one row's array.
        dtype: dtype of the array.
        rows_per_shard: how many rows the shard has room for.
        checked: positions of rows that were found right before; added to.

    Raises:
        CacheCorruptError: if the file is absent, or its index is not the one that was written.
    """

    def __init__(
        self,
        path: Path,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        rows_per_shard: int,
        checked: set[int] | None = None,
    ) -> None:
        self._path, self._row_shape, self._dtype = path, row_shape, dtype
        try:
            with path.open("rb") as file:
                # A private mapping is writable in memory only, which spares torch's warning about read-only arrays.
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (FileNotFoundError, ValueError) as error:
            raise CacheCorruptError(
                f"{path}: absent or empty; extract into a new cache, or restore the file"
            ) from error
        self._bytes = np.frombuffer(mapped, np.uint8)
        self._index = self._read_index(rows_per_shard)
        self._checked = set() if checked is None else checked

    def row(self, position: int) -> npt.NDArray[Any]:
        """The row at `position`: a view of the mapped file, no copy.

        Raises:
            CacheCorruptError: if the row is absent or its checksum differs.
        """
        offset, size = (int(number) for number in self._index[position])
        count = int(np.prod(self._row_shape))
        if size != count * self._dtype.itemsize + CRC_BYTES or offset + size > self._bytes.size:
            raise CacheCorruptError(f"{self._path}: row {position} is absent or of another size")
        if position not in self._checked:
            self._check(position, offset, size)
        return np.frombuffer(self._bytes, self._dtype, count, offset).reshape(self._row_shape)

    def _check(self, position: int, offset: int, size: int) -> None:
        data, stored = np.split(self._bytes[offset : offset + size], [size - CRC_BYTES])
        if not np.array_equal(_checksum(data), stored):
            raise CacheCorruptError(f"{self._path}: the bytes of row {position} are not those that were written")
        self._checked.add(position)

    def _read_index(self, rows_per_shard: int) -> npt.NDArray[np.uint64]:
        raw, stored = np.split(self._bytes[-(rows_per_shard * 16 + CRC_BYTES) :], [-CRC_BYTES])
        if raw.size != rows_per_shard * 16 or not np.array_equal(_checksum(raw), stored):
            raise CacheCorruptError(f"{self._path}: the index at the end is not the one that was written")
        return np.frombuffer(raw.tobytes(), "<u8").reshape(rows_per_shard, 2)


def _bytes_of(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8)


def _checksum(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(google_crc32c.value(data).to_bytes(CRC_BYTES, "little"), np.uint8)
