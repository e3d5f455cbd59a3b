"""One shard: consecutive rows of an array in one file, each row an inner chunk followed by its CRC32C.

The bytes are those of Zarr v3's `sharding_indexed` codec with inner codecs `bytes` (little-endian) and `crc32c`, and
the index at the end (Zarr enhancement proposal 2): for every row the offset and the number of bytes, then the CRC32C of
these numbers. A row that the shard does not hold has both set to 2^64 - 1. Encoding and reading it here, without a
generic pipeline between, lets rows be written from and mapped into memory as they are.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from ...errors import CacheCorruptError
from ..storage.atomic import write_durably
from ..storage.location import Location
from .decoding import REPAIR

Bytes = npt.NDArray[np.uint8]

CRC_BYTES = 4
ABSENT = np.uint64(2**64 - 1)
PIECE_BYTES = 1 << 18
"""Read and checked at once: small enough that the checksum finds the piece in the processor's cache (measured)."""
_SHARD_PATH = re.compile(r"[a-z]+(/\w+){0,2}/c/[0-9]+(/0)+", re.ASCII)
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # Python 3.11 lacks the name


@dataclass(frozen=True)
class ShardRecord:
    """A shard's entry in the manifest."""

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
        rows_per_shard: how many rows the shard has at most.
    """
    index = np.full((rows_per_shard, 2), ABSENT, dtype="<u8")
    crc = 0

    def pieces() -> Iterator[bytes | memoryview]:
        nonlocal crc
        offset = 0
        for position in sorted(rows):
            data = _as_bytes(rows[position])
            checksum = _stored(google_crc32c.value(data))  # just before the row is written, while it is near
            crc = google_crc32c.extend(crc, checksum)
            index[position] = offset, data.size + CRC_BYTES
            offset += data.size + CRC_BYTES
            yield data.data
            yield checksum
        crc = google_crc32c.extend(crc, _as_bytes(index))
        yield _as_bytes(index).data
        yield _stored(google_crc32c.value(_as_bytes(index)))

    size_bytes = write_durably(root / path, pieces())
    return ShardRecord(path, size_bytes, f"{crc:08x}")


@dataclass(frozen=True)
class ShardDamage:
    """A shard whose bytes are not those that were written."""

    problem: str
    positions: tuple[int, ...] | None = None
    """The rows whose numbers are lost, as positions in the shard; `None`: all that it holds."""


class _DamagedError(Exception):
    """Bytes that are not those that were written, described without the file's name."""


def check_shard(
    root: Location, record: ShardRecord, rows_per_shard: int, content: bytes | None = None
) -> ShardDamage | None:
    """Compare every byte of a shard with what was written; `None`: all of them are right.

    Args:
        root: the cache.
        record: of the shard.
        rows_per_shard: how many rows the shard has at most.
        content: the file's bytes, where they were read before; `None`: read them piece by piece.
    """
    try:
        with (root / record.path).open("rb", buffering=0) if content is None else io.BytesIO(content) as file:
            return _check(file, record, rows_per_shard)
    except _DamagedError as problem:
        return ShardDamage(str(problem))
    except OSError as error:
        return ShardDamage(unreadable(error))


def read_shard(root: Location, record: ShardRecord, rows_per_shard: int) -> bytes | ShardDamage:
    """A shard's bytes, if all of them are right; arguments as of `check_shard`."""
    try:
        content = (root / record.path).read_bytes()
    except OSError as error:
        return ShardDamage(unreadable(error))
    return check_shard(root, record, rows_per_shard, content) or content


def unreadable(error: OSError) -> str:
    """A file's problem, where it cannot be read."""
    return "absent" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"


def _check(file: io.FileIO | io.BytesIO, record: ShardRecord, rows_per_shard: int) -> ShardDamage | None:
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes != record.size_bytes:
        raise _DamagedError(f"has {size_bytes} bytes where {record.size_bytes} were written")
    index, crc, damaged = _read_index(file, rows_per_shard), 0, []
    for position in np.flatnonzero(index[:, 0] != ABSENT).tolist():
        offset, size = (int(number) for number in index[position])
        actual, stored = _read_row(file, offset, size - CRC_BYTES, None)
        crc = google_crc32c.extend(crc, _stored(stored))
        if actual != stored:
            damaged.append(position)
    if damaged:
        rows = ", ".join(map(str, damaged))
        return ShardDamage(f"the bytes of row{'s' * (len(damaged) > 1)} {rows} are not those written", tuple(damaged))
    if f"{google_crc32c.extend(crc, _as_bytes(index)):08x}" != record.crc32c:
        raise _DamagedError("whole in itself, but not what the manifest recorded")
    return None


class ShardFile:
    """A shard mapped into memory; a row's checksum is checked when the row is first asked for.

    Args:
        path: the shard, on a disk or with local copies.
        row_shape: shape of one row's array.
        dtype: dtype of the array.
        rows_per_shard: how many rows the shard has at most.
        checked: for each position, whether the row was found right before; written to.

    Raises:
        CacheCorruptError: if the file is absent, or its index is not the one that was written.
    """

    def __init__(
        self,
        path: Location,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        rows_per_shard: int,
        checked: bytearray | None = None,
    ) -> None:
        self._path, self._row_shape, self._dtype = path, row_shape, dtype
        self._size = math.prod(row_shape) * dtype.itemsize
        with _naming(path), path.open("rb", buffering=0) as file:
            self._index = _read_index(file, rows_per_shard)
            self._mapped = _mapped(file)
        self._checked = bytearray(rows_per_shard) if checked is None else checked

    def row(self, position: int) -> npt.NDArray[Any]:
        """The row at `position`: a view of the mapped file, no copy.

        Raises:
            CacheCorruptError: if the row is absent or its checksum differs.
        """
        with _naming(self._path):
            offset = _offset(self._index, position, self._size)
            data = self._mapped[offset : offset + self._size]
            if not self._checked[position]:
                stored = self._mapped[offset + self._size : offset + self._size + CRC_BYTES]
                _compare(position, google_crc32c.value(data), _number(stored))
                self._checked[position] = True
            return data.view(self._dtype).reshape(self._row_shape)


def read_rows(path: Location, rows: Mapping[int, npt.NDArray[Any]], rows_per_shard: int) -> None:
    """Read rows of a shard into existing arrays, and check them: what reading in bulk is made of.

    Beside `ShardFile`, whose pages are faulted in one by one, this asks the disk for large pieces.

    Args:
        path: the shard.
        rows: position in the shard → a contiguous array of the row's shape and dtype, which is overwritten.
        rows_per_shard: how many rows the shard has at most.

    Raises:
        CacheCorruptError: if the file or a row is absent, or the bytes are not those that were written.
    """
    with _naming(path), path.open("rb", buffering=0) as file:
        index = _read_index(file, rows_per_shard)
        for position in sorted(rows):
            data = _as_bytes(rows[position])
            offset = _offset(index, position, data.size)
            _compare(position, *_read_row(file, offset, data.size, data))


def split_rows(content: bytes, rows_per_shard: int) -> dict[int, memoryview]:
    """The rows of a shard that was checked: position → its bytes, without the checksum."""
    index = _read_index(io.BytesIO(content), rows_per_shard)
    positions = np.flatnonzero(index[:, 0] != ABSENT).tolist()
    starts = {position: int(index[position, 0]) for position in positions}
    return {
        position: memoryview(content)[start : start + int(index[position, 1]) - CRC_BYTES]
        for position, start in starts.items()
    }


@contextmanager
def _naming(path: Location) -> Iterator[None]:
    """Name the file, and the repair, in errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise CacheCorruptError(f"{path}: absent; {REPAIR}") from error
    except _DamagedError as problem:
        raise CacheCorruptError(f"{path}: {problem}; {REPAIR}") from problem


def _mapped(file: io.FileIO | io.BytesIO) -> Bytes:
    """The file as memory that the kernel can take back."""
    # A private mapping is writable in memory only, which spares torch's warning about read-only arrays; without
    # reserve, since nobody writes to it: a file may be larger than the memory.
    if os.name == "nt":
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    else:
        flags, protection = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        pages = mmap.mmap(file.fileno(), 0, flags, protection)
    return np.frombuffer(pages, np.uint8)


def _read_index(file: io.FileIO | io.BytesIO, rows_per_shard: int) -> npt.NDArray[np.uint64]:
    size, end = rows_per_shard * 16 + CRC_BYTES, file.seek(0, os.SEEK_END)
    raw = np.empty(min(size, end), np.uint8)
    _read_into(file, end - raw.size, raw)
    if raw.size != size or google_crc32c.value(raw[:-CRC_BYTES]) != _number(raw[-CRC_BYTES:]):
        raise _DamagedError("cut short or damaged: the index at its end is not the one that was written")
    index = raw[:-CRC_BYTES].view("<u8").reshape(rows_per_shard, 2)
    entries = index[index[:, 0] != ABSENT]
    if entries.max(initial=0) > end or int(entries.sum(1).max(initial=0)) + size > end:
        raise _DamagedError("cut short: its index names more bytes than it has")
    return index


def _read_row(file: io.FileIO | io.BytesIO, offset: int, size: int, out: Bytes | None) -> tuple[int, int]:
    """Read a row into `out`, or nowhere; gives the CRC32C of the bytes, and the one that is stored behind them."""
    crc, stored = 0, np.empty(CRC_BYTES, np.uint8)
    scratch = np.empty(min(PIECE_BYTES, size), np.uint8) if out is None else out
    for start in range(0, size, PIECE_BYTES):
        length = min(PIECE_BYTES, size - start)
        piece = scratch[:length] if out is None else scratch[start : start + length]
        _read_into(file, offset + start, piece)
        crc = google_crc32c.extend(crc, piece)
    _read_into(file, offset + size, stored)
    return crc, _number(stored)


def _read_into(file: io.FileIO | io.BytesIO, offset: int, out: Bytes) -> None:
    file.seek(offset)
    done = 0
    while done < out.size:
        n_read = file.readinto(out[done:].data)
        if not n_read:
            raise _DamagedError("cut short while it was read")
        done += n_read


def _offset(index: npt.NDArray[np.uint64], position: int, size: int) -> int:
    """The offset of a row of `size` bytes."""
    offset, stored_size = (int(number) for number in index[position])
    if stored_size != size + CRC_BYTES:
        raise _DamagedError(f"row {position} is absent or of another size")
    return offset


def _compare(position: int, actual: int, stored: int) -> None:
    if actual != stored:
        raise _DamagedError(f"the bytes of row {position} are not those that were written")


def _number(stored: Bytes) -> int:
    """A stored checksum as a number."""
    return int.from_bytes(stored.tobytes(), "little")


def _stored(checksum: int) -> bytes:
    """A checksum as it is stored."""
    return checksum.to_bytes(CRC_BYTES, "little")


def _as_bytes(array: npt.NDArray[Any]) -> Bytes:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8)
