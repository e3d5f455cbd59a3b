"""One shard: consecutive rows of an array in one file, each row an inner chunk followed by its CRC32C.

The bytes are those of Zarr v3's `sharding_indexed` codec with inner codecs `bytes` (little-endian) and `crc32c`, and
the index at the end (Zarr enhancement proposal 2): for every row the offset and the number of bytes, then the CRC32C of
these numbers. A row that the shard does not hold has both set to 2^64 - 1. Encoding and reading it here, without a
generic pipeline between, lets rows be written from and mapped into memory as they are.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from ..errors import CacheCorruptError
from .durable import write_durably

_SHARD_PATH = re.compile(r"[a-z]+(/\w+){0,2}/c/[0-9]+(/0)+", re.ASCII)
ABSENT = np.uint64(2**64 - 1)
CRC_BYTES = 4
PIECE_BYTES = 1 << 18
"""Read and checked at once: small enough that the checksum finds the piece in the processor's cache (measured)."""
REPAIR = (
    "`textdiff cache verify` lists all that is damaged; the `extract-features` command that made the cache repairs it "
    "with --resume"
)
"""What to do about bytes that are not those that were written."""


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ShardRecord:
        """The inverse of `dataclasses.asdict`, from JSON that may come from anybody: files are removed by such paths.

        Raises:
            ValueError: if the path is none of a shard below the cache's folder.
        """
        if not _SHARD_PATH.fullmatch(values["path"]):
            raise ValueError(f"{values['path']!r} is no shard's path")
        return cls(**values)


def write_shard(root: Path, path: str, rows: Mapping[int, npt.NDArray[Any]], rows_per_shard: int) -> ShardRecord:
    """Write the shard `path` under `root`, durably.

    Args:
        root: the cache's folder.
        path: the shard's place in it.
        rows: position in the shard → one row's array, all of one shape and dtype.
        rows_per_shard: how many rows the shard has room for.
    """
    index = np.full((rows_per_shard, 2), ABSENT, dtype="<u8")
    told = 0

    def pieces() -> Iterator[memoryview]:
        nonlocal told
        offset = 0
        for position in sorted(rows):
            data = _bytes_of(rows[position])
            checksum = _checksum(data)  # just before the row is written, while it is near the processor
            told = google_crc32c.extend(told, checksum)
            index[position] = offset, data.size + CRC_BYTES
            offset += data.size + CRC_BYTES
            yield data.data
            yield checksum.data
        told = google_crc32c.extend(told, _bytes_of(index))
        yield _bytes_of(index).data
        yield _checksum(_bytes_of(index)).data

    size_bytes = write_durably(root / path, pieces())
    return ShardRecord(path, size_bytes, f"{told:08x}")


@dataclass(frozen=True)
class ShardDamage:
    """What is wrong with a shard."""

    problem: str
    positions: tuple[int, ...] | None
    """The rows whose numbers are lost, as positions in the shard; `None`: all that it holds."""


def check_shard(root: Path, record: ShardRecord, rows_per_shard: int) -> ShardDamage | None:
    """Compare every byte of a shard with what was written; `None`: all of them are right.

    Args:
        root: the cache's folder.
        record: what the manifest says of the shard.
        rows_per_shard: how many rows the shard has room for.
    """
    path = root / record.path
    try:
        with _opened(path) as file:
            size_bytes = os.fstat(file).st_size
            if size_bytes != record.size_bytes:
                return ShardDamage(f"has {size_bytes} bytes where {record.size_bytes} were written", None)
            return _check_rows(path, file, _read_index(path, file, rows_per_shard), record)
    except CacheCorruptError as error:
        return ShardDamage(str(error).removeprefix(f"{path}: ").removesuffix(f"; {REPAIR}"), None)
    except OSError as error:
        return ShardDamage(f"cannot be read ({error.strerror})", None)


def _check_rows(path: Path, file: int, index: npt.NDArray[np.uint64], record: ShardRecord) -> ShardDamage | None:
    told, damaged, piece, stored = 0, [], np.empty(PIECE_BYTES, np.uint8), np.empty(CRC_BYTES, np.uint8)
    for position in np.flatnonzero(index[:, 0] != ABSENT).tolist():
        offset, size = (int(number) for number in index[position])
        end, checksum = offset + size - CRC_BYTES, 0
        for start in range(offset, end, PIECE_BYTES):
            part = piece[: min(PIECE_BYTES, end - start)]
            _read_into(path, file, part, start)
            checksum = google_crc32c.extend(checksum, part)
        _read_into(path, file, stored, end)
        told = google_crc32c.extend(told, stored)
        if not np.array_equal(_as_bytes(checksum), stored):
            damaged.append(position)
    if damaged:
        rows = ", ".join(map(str, damaged))
        return ShardDamage(f"the bytes of row{'s' * (len(damaged) > 1)} {rows} are not those written", tuple(damaged))
    if f"{google_crc32c.extend(told, _bytes_of(index)):08x}" != record.crc32c:
        return ShardDamage("whole in itself, but not what the manifest recorded", None)
    return None


class ShardFile:
    """A shard mapped into memory; a row's checksum is checked when the row is first asked for.

    Args:
        path: the file.
        row_shape: shape of one row's array.
        dtype: dtype of the array.
        rows_per_shard: how many rows the shard has room for.
        checked: for each position, whether the row was found right before; written to.

    Raises:
        CacheCorruptError: if the file is absent, or its index is not the one that was written.
    """

    def __init__(
        self,
        path: Path,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        rows_per_shard: int,
        checked: bytearray | None = None,
    ) -> None:
        self._path, self._row_shape, self._dtype = path, row_shape, dtype
        with _opened(path) as file:
            self._index = _read_index(path, file, rows_per_shard)
            # A private mapping is writable in memory only, which spares torch's warning about read-only arrays.
            self._bytes = np.frombuffer(mmap.mmap(file, 0, access=mmap.ACCESS_COPY), np.uint8)
        self._checked = bytearray(rows_per_shard) if checked is None else checked

    def row(self, position: int) -> npt.NDArray[Any]:
        """The row at `position`: a view of the mapped file, no copy.

        Raises:
            CacheCorruptError: if the row is absent or its checksum differs.
        """
        count = int(np.prod(self._row_shape))
        offset = _offset(self._path, self._index, position, count * self._dtype.itemsize)
        row = np.frombuffer(self._bytes, self._dtype, count, offset).reshape(self._row_shape)
        if not self._checked[position]:
            end = offset + row.nbytes
            _compare(self._path, position, _checksum(self._bytes[offset:end]), self._bytes[end : end + CRC_BYTES])
            self._checked[position] = True
        return row


def read_rows(path: Path, rows: Mapping[int, npt.NDArray[Any]], rows_per_shard: int) -> None:
    """Read rows of a shard into arrays that are there already, and check them: what reading in bulk is made of.

    Beside `ShardFile`, whose pages are faulted in one by one, this asks the disk for large pieces.

    Args:
        path: the file.
        rows: position in the shard → a contiguous array of the row's shape and dtype, which is overwritten.
        rows_per_shard: how many rows the shard has room for.

    Raises:
        CacheCorruptError: if the file or a row is absent, or the bytes are not those that were written.
    """
    with _opened(path) as file:
        index = _read_index(path, file, rows_per_shard)
        for position in sorted(rows):
            data = _bytes_of(rows[position])
            offset, checksum = _offset(path, index, position, data.size), 0
            for start in range(0, data.size, PIECE_BYTES):
                piece = data[start : start + PIECE_BYTES]
                _read_into(path, file, piece, offset + start)
                checksum = google_crc32c.extend(checksum, piece)
            stored = np.empty(CRC_BYTES, np.uint8)
            _read_into(path, file, stored, offset + data.size)
            _compare(path, position, _as_bytes(checksum), stored)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CacheCorruptError(f"{path}: absent; {REPAIR}") from error
    try:
        yield file
    finally:
        os.close(file)


def _read_index(path: Path, file: int, rows_per_shard: int) -> npt.NDArray[np.uint64]:
    tail = rows_per_shard * 16 + CRC_BYTES
    start = os.fstat(file).st_size - tail
    raw = os.pread(file, tail, max(start, 0))
    stored = int.from_bytes(raw[-CRC_BYTES:], "little")
    if len(raw) != tail or google_crc32c.value(raw[:-CRC_BYTES]) != stored:
        raise CacheCorruptError(
            f"{path}: cut short or damaged: the index at its end is not the one that was written; {REPAIR}"
        )
    index = np.frombuffer(raw, "<u8", rows_per_shard * 2).reshape(rows_per_shard, 2)
    if (index[index[:, 0] != ABSENT].sum(1) > start).any():
        raise CacheCorruptError(f"{path}: cut short: its index tells of more bytes than it has; {REPAIR}")
    return index


def _offset(path: Path, index: npt.NDArray[np.uint64], position: int, size: int) -> int:
    """Where a row's bytes begin, which are `size`."""
    offset, found = (int(number) for number in index[position])
    if found != size + CRC_BYTES:
        raise CacheCorruptError(f"{path}: row {position} is absent or of another size; {REPAIR}")
    return offset


def _read_into(path: Path, file: int, out: npt.NDArray[np.uint8], offset: int) -> None:
    done = 0
    while done < out.size:
        n_read = os.preadv(file, [out[done:].data], offset + done)
        if n_read == 0:
            raise CacheCorruptError(f"{path}: cut short while it was read; {REPAIR}")
        done += n_read


def _compare(path: Path, position: int, found: npt.NDArray[np.uint8], stored: npt.NDArray[np.uint8]) -> None:
    if not np.array_equal(found, stored):
        raise CacheCorruptError(f"{path}: the bytes of row {position} are not those that were written; {REPAIR}")


def _bytes_of(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8)


def _checksum(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return _as_bytes(google_crc32c.value(data))


def _as_bytes(checksum: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(checksum.to_bytes(CRC_BYTES, "little"), np.uint8)
