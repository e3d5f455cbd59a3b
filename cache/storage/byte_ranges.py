"""The bytes of one shard, wherever they lie: in a file of their own, in part of another one, or across a network."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import google_crc32c
import numpy as np
import numpy.typing as npt

from ...errors import CacheCorruptError
from .paths import Place, Stored, repair_of

CRC_BYTES = 4
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Python 3.11 does not name it."""
PIECE_BYTES = 1 << 18
"""Read and checked at once: small enough that the checksum finds the piece in the processor's cache (measured)."""

Bytes = npt.NDArray[np.uint8]


class ByteSource(Protocol):
    """A shard's bytes, open for reading by one thread; `row` may be used by several."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""

    def lacks(self, end: int) -> bool:
        """Whether the bytes are known to end before `end`; where it costs a request to know, reading finds out."""

    def tail(self, size: int) -> bytes:
        """The last `size` bytes, or all of them where there are fewer."""

    def read_row(self, offset: int, size: int, out: Bytes | None) -> tuple[int, int]:
        """Read `size` bytes from `offset` on, and the CRC32C that is stored behind them.

        Args:
            offset: of the first byte.
            size: of what the checksum is of.
            out: where the bytes go; `None`: nowhere.

        Returns:
            The CRC32C of what was read, and the one that is stored.

        Raises:
            CacheCorruptError: if there are fewer bytes.
        """

    def hold(self) -> None:
        """Make ready for `row`, which works after `close` too."""

    def row(self, offset: int, size: int) -> tuple[Bytes, int]:
        """The same bytes, as a view of memory that the kernel can take back, and the checksum that is stored."""

    def close(self) -> None:
        """Give back what all else needs."""


@contextmanager
def opened(place: Place) -> Iterator[ByteSource]:
    """The bytes of the shard at `place`.

    Raises:
        CacheCorruptError: if there is no such shard.
    """
    try:
        with closing(place.source() if isinstance(place, Stored) else FileRange(place)) as source:
            yield source
    except FileNotFoundError as error:  # of an object store, when it is first read
        raise CacheCorruptError(f"{place}: absent; {repair_of(place)}") from error


class FileRange:
    """A range of a file, which may be all of it.

    Args:
        file: on a disk.
        start: where the range begins.
        size_bytes: how long it is; `None`: up to the file's end.
        place: as what messages name it.
    """

    def __init__(self, file: Path, start: int = 0, size_bytes: int | None = None, place: Place | None = None) -> None:
        self._place, self._start = place or file, start
        self._file = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        there = os.fstat(self._file).st_size - start
        self.size_bytes = there if size_bytes is None else size_bytes
        self._mapped = np.empty(0, np.uint8)
        if self.size_bytes > there:
            os.close(self._file)
            raise cut_short(self._place)

    def lacks(self, end: int) -> bool:
        """As `ByteSource`."""
        return end > self.size_bytes

    def tail(self, size: int) -> bytes:
        """As `ByteSource`."""
        start = max(self.size_bytes - size, 0)
        return os.pread(self._file, self.size_bytes - start, self._start + start)

    def read_row(self, offset: int, size: int, out: Bytes | None) -> tuple[int, int]:
        """As `ByteSource`."""
        checksum, stored = self.read_checking(offset, size, out), np.empty(CRC_BYTES, np.uint8)
        self.read_into(stored, offset + size)
        return checksum, number_of(stored)

    def read_checking(self, offset: int, size: int, out: Bytes | None) -> int:
        """Read `size` bytes from `offset` on; gives the CRC32C of what was read."""
        checksum = 0
        scratch = np.empty(min(PIECE_BYTES, size), np.uint8) if out is None else out
        for start in range(0, size, PIECE_BYTES):
            length = min(PIECE_BYTES, size - start)
            piece = scratch[:length] if out is None else scratch[start : start + length]
            self.read_into(piece, offset + start)
            checksum = google_crc32c.extend(checksum, piece)
        return checksum

    def read_into(self, out: Bytes, offset: int) -> None:
        """Fill `out`."""
        done = 0
        while done < out.size:
            n_read = os.preadv(self._file, [out[done:].data], self._start + offset + done)
            if n_read == 0:
                raise cut_short(self._place)
            done += n_read

    def row(self, offset: int, size: int) -> tuple[Bytes, int]:
        """As `ByteSource`: a view of the mapped file."""
        end = offset + size
        return self._mapped[offset:end], number_of(self._mapped[end : end + CRC_BYTES])

    def hold(self) -> None:
        """Map the range into memory."""
        skipped = self._start % mmap.ALLOCATIONGRANULARITY
        # A private mapping is writable in memory only, which spares torch's warning about read-only arrays; without
        # reserve, since nobody writes to it: a file may be larger than the memory.
        flags, protection = mmap.MAP_PRIVATE | MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        pages = mmap.mmap(self._file, self.size_bytes + skipped, flags, protection, offset=self._start - skipped)
        self._mapped = np.frombuffer(pages, np.uint8)[skipped:]

    def close(self) -> None:
        """Close the file; what is mapped stays."""
        os.close(self._file)


class MemoryRange:
    """A shard that was read whole.

    Args:
        place: as what messages name it.
        content: its bytes.
    """

    def __init__(self, place: Place, content: bytes) -> None:
        self._place, self._content, self.size_bytes = place, np.frombuffer(content, np.uint8), len(content)

    def lacks(self, end: int) -> bool:
        """As `ByteSource`."""
        return end > self.size_bytes

    def tail(self, size: int) -> bytes:
        """As `ByteSource`."""
        return self._content[max(self.size_bytes - size, 0) :].tobytes()

    def read_row(self, offset: int, size: int, out: Bytes | None) -> tuple[int, int]:
        """As `ByteSource`."""
        data, stored = self.row(offset, size)
        if out is not None:
            out[:] = data
        return google_crc32c.value(data), stored

    def hold(self) -> None:
        """As `ByteSource`: nothing is needed."""

    def row(self, offset: int, size: int) -> tuple[Bytes, int]:
        """As `ByteSource`."""
        end = offset + size
        if end + CRC_BYTES > self.size_bytes:
            raise cut_short(self._place)
        return self._content[offset:end], number_of(self._content[end : end + CRC_BYTES])

    def close(self) -> None:
        """As `ByteSource`: nothing is open."""


def cut_short(place: Place) -> CacheCorruptError:
    """What to raise where bytes end too early."""
    return CacheCorruptError(f"{place}: cut short while it was read; {repair_of(place)}")


def number_of(stored: Bytes | bytes) -> int:
    """A stored checksum as a number."""
    return int.from_bytes(bytes(stored), "little")


def bytes_of(checksum: int) -> bytes:
    """A checksum as it is stored."""
    return checksum.to_bytes(CRC_BYTES, "little")
