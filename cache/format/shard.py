"""One shard: consecutive rows of an array in one file, each row an inner chunk followed by its CRC32C.

The bytes are those of Zarr v3's `sharding_indexed` codec with inner codecs `bytes` (little-endian) and `crc32c`, and
the index at the end (Zarr enhancement proposal 2): for every row the offset and the number of bytes, then the CRC32C of
these numbers. A row that the shard does not hold has both set to 2^64 - 1. Encoding and reading it here, without a
generic pipeline between, lets rows be written from and mapped into memory as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from ...errors import CacheCorruptError
from ..storage.atomic import write_durably
from ..storage.byte_ranges import CRC_BYTES, Bytes, ByteSource, MemoryRange, bytes_of, number_of, opened
from ..storage.location import Location
from ..storage.paths import Place, repair_of

_SHARD_PATH = re.compile(r"[a-z]+(/\w+){0,2}/c/[0-9]+(/0)+", re.ASCII)
ABSENT = np.uint64(2**64 - 1)


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

    def __post_init__(self) -> None:
        """Refuse a path outside of the cache's folder: records may come from anybody, and files are removed by them."""
        if not _SHARD_PATH.fullmatch(self.path):
            raise ValueError(f"{self.path!r} is no shard's path")


def write_shard(root: Location, path: str, rows: Mapping[int, npt.NDArray[Any]], rows_per_shard: int) -> ShardRecord:
    """Write the shard `path` under `root`, durably.

    Args:
        root: the cache.
        path: the shard's place in it.
        rows: position in the shard → one row's array, all of one shape and dtype.
        rows_per_shard: how many rows the shard has room for.
    """
    index = np.full((rows_per_shard, 2), ABSENT, dtype="<u8")
    told = 0

    def pieces() -> Iterator[bytes | memoryview]:
        nonlocal told
        offset = 0
        for position in sorted(rows):
            data = _as_bytes(rows[position])
            checksum = bytes_of(google_crc32c.value(data))  # just before the row is written, while it is near
            told = google_crc32c.extend(told, checksum)
            index[position] = offset, data.size + CRC_BYTES
            offset += data.size + CRC_BYTES
            yield data.data
            yield checksum
        told = google_crc32c.extend(told, _as_bytes(index))
        yield _as_bytes(index).data
        yield bytes_of(google_crc32c.value(_as_bytes(index)))

    size_bytes = write_durably(root / path, pieces())
    return ShardRecord(path, size_bytes, f"{told:08x}")


@dataclass(frozen=True)
class ShardDamage:
    """What is wrong with a shard."""

    problem: str
    positions: tuple[int, ...] | None
    """The rows whose numbers are lost, as positions in the shard; `None`: all that it holds."""


def check_shard(root: Place, record: ShardRecord, rows_per_shard: int) -> ShardDamage | None:
    """Compare every byte of a shard with what was written; `None`: all of them are right.

    Args:
        root: the cache.
        record: what the manifest says of the shard.
        rows_per_shard: how many rows the shard has room for.
    """
    path = root / record.path
    try:
        with opened(path) as source:
            return _check(path, source, record, rows_per_shard)
    except CacheCorruptError as error:
        return ShardDamage(_without_place(error, path), None)
    except OSError as error:
        return ShardDamage(f"cannot be read ({error.strerror})", None)


def read_shard(root: Place, record: ShardRecord, rows_per_shard: int) -> bytes | ShardDamage:
    """A shard's bytes, if all of them are right; arguments as of `check_shard`."""
    path = root / record.path
    try:
        content = path.read_bytes()
        return _check(path, MemoryRange(path, content), record, rows_per_shard) or content
    except FileNotFoundError:
        return ShardDamage("absent", None)
    except CacheCorruptError as error:
        return ShardDamage(_without_place(error, path), None)
    except OSError as error:
        return ShardDamage(f"cannot be read ({error.strerror})", None)


def _without_place(error: CacheCorruptError, path: Place) -> str:
    return str(error).removeprefix(f"{path}: ").removesuffix(f"; {repair_of(path)}")


def _check(path: Place, source: ByteSource, record: ShardRecord, rows_per_shard: int) -> ShardDamage | None:
    if source.size_bytes != record.size_bytes:
        return ShardDamage(f"has {source.size_bytes} bytes where {record.size_bytes} were written", None)
    return _check_rows(source, _read_index(path, source, rows_per_shard), record)


def _check_rows(source: ByteSource, index: npt.NDArray[np.uint64], record: ShardRecord) -> ShardDamage | None:
    told, damaged = 0, []
    for position in np.flatnonzero(index[:, 0] != ABSENT).tolist():
        offset, size = (int(number) for number in index[position])
        checksum, stored = source.read_row(offset, size - CRC_BYTES, None)
        told = google_crc32c.extend(told, bytes_of(stored))
        if checksum != stored:
            damaged.append(position)
    if damaged:
        rows = ", ".join(map(str, damaged))
        return ShardDamage(f"the bytes of row{'s' * (len(damaged) > 1)} {rows} are not those written", tuple(damaged))
    if f"{google_crc32c.extend(told, _as_bytes(index)):08x}" != record.crc32c:
        return ShardDamage("whole in itself, but not what the manifest recorded", None)
    return None


class ShardFile:
    """A shard mapped into memory; a row's checksum is checked when the row is first asked for.

    Args:
        path: the shard.
        row_shape: shape of one row's array.
        dtype: dtype of the array.
        rows_per_shard: how many rows the shard has room for.
        checked: for each position, whether the row was found right before; written to.

    Raises:
        CacheCorruptError: if the file is absent, or its index is not the one that was written.
    """

    def __init__(
        self,
        path: Place,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        rows_per_shard: int,
        checked: bytearray | None = None,
    ) -> None:
        self._path, self._row_shape, self._dtype = path, row_shape, dtype
        with opened(path) as source:
            self._index = _read_index(path, source, rows_per_shard)
            source.hold()
        self._source = source
        self._checked = bytearray(rows_per_shard) if checked is None else checked

    def row(self, position: int) -> npt.NDArray[Any]:
        """The row at `position`: a view of the mapped file, no copy.

        Raises:
            CacheCorruptError: if the row is absent or its checksum differs.
        """
        size = int(np.prod(self._row_shape)) * self._dtype.itemsize
        data, stored = self._source.row(_offset(self._path, self._index, position, size), size)
        if not self._checked[position]:
            _compare(self._path, position, google_crc32c.value(data), stored)
            self._checked[position] = True
        row = data.view(self._dtype).reshape(self._row_shape)
        return row if row.flags.aligned else row.copy()  # in another program's archive


def read_rows(path: Place, rows: Mapping[int, npt.NDArray[Any]], rows_per_shard: int) -> None:
    """Read rows of a shard into arrays that are there already, and check them: what reading in bulk is made of.

    Beside `ShardFile`, whose pages are faulted in one by one, this asks the disk for large pieces.

    Args:
        path: the shard.
        rows: position in the shard → a contiguous array of the row's shape and dtype, which is overwritten.
        rows_per_shard: how many rows the shard has room for.

    Raises:
        CacheCorruptError: if the file or a row is absent, or the bytes are not those that were written.
    """
    with opened(path) as source:
        index = _read_index(path, source, rows_per_shard)
        for position in sorted(rows):
            data = _as_bytes(rows[position])
            offset = _offset(path, index, position, data.size)
            _compare(path, position, *source.read_row(offset, data.size, data))


def _read_index(path: Place, source: ByteSource, rows_per_shard: int) -> npt.NDArray[np.uint64]:
    size = rows_per_shard * 16 + CRC_BYTES
    raw = source.tail(size)
    if len(raw) != size or google_crc32c.value(raw[:-CRC_BYTES]) != number_of(raw[-CRC_BYTES:]):
        raise CacheCorruptError(
            f"{path}: cut short or damaged: the index at its end is not the one that was written; {repair_of(path)}"
        )
    index = np.frombuffer(raw, "<u8", rows_per_shard * 2).reshape(rows_per_shard, 2)
    if source.lacks(int(index[index[:, 0] != ABSENT].sum(1).max(initial=0)) + size):
        raise CacheCorruptError(f"{path}: cut short: its index tells of more bytes than it has; {repair_of(path)}")
    return index


def _offset(path: Place, index: npt.NDArray[np.uint64], position: int, size: int) -> int:
    """Where a row's bytes begin, which are `size`."""
    offset, found = (int(number) for number in index[position])
    if found != size + CRC_BYTES:
        raise CacheCorruptError(f"{path}: row {position} is absent or of another size; {repair_of(path)}")
    return offset


def _compare(path: Place, position: int, found: int, stored: int) -> None:
    if found != stored:
        raise CacheCorruptError(
            f"{path}: the bytes of row {position} are not those that were written; {repair_of(path)}"
        )


def _as_bytes(array: npt.NDArray[Any]) -> Bytes:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8)
