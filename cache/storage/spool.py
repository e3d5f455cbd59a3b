"""Rows of an object store that were read, kept on this machine's disk while a reader is open.

A head reads the same rows in every epoch: they come over the network once. They lie in files without a name, which are
gone with the process however it ends, and are handed out as views of these files, as a local cache's rows are.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import threading

import google_crc32c
import numpy as np

from ...errors import CacheError
from .byte_ranges import CRC_BYTES, Bytes, cut_short, number_of
from .remote import Remote

SEGMENT_BYTES = 1 << 28
"""Of one file: each takes two of the few that a process may have open."""
ALIGNMENT = 64
"""Of rows in memory, in bytes."""


class Spool:
    """A place on the disk for bytes; threads and processes forked from this one may share it."""

    def __init__(self) -> None:
        self._lock, self._pid, self._used = threading.Lock(), os.getpid(), 0
        self._pages, self._file = np.empty(0, np.uint8), -1
        self._kept: dict[tuple[str, int], tuple[Bytes, int]] = {}

    def __del__(self) -> None:
        """Close the file that is being filled; what was handed out stays mapped."""
        if self._file >= 0:
            os.close(self._file)

    def get(self, name: str, offset: int) -> tuple[Bytes, int] | None:
        """What was kept: bytes and their stored checksum."""
        return self._kept.get((name, offset))

    def keep(self, name: str, offset: int, content: bytes, checksum: int) -> tuple[Bytes, int]:
        """Write bytes to the disk and give a view of them.

        Raises:
            CacheError: if the disk is full.
        """
        try:
            with self._lock:
                start = self._room_for(len(content))
                _write(self._file, content, start)
                self._kept[name, offset] = self._pages[start : start + len(content)], checksum
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise CacheError(
                f"{name}: no room in {tempfile.gettempdir()} to keep what was read; set TMPDIR to a folder on a larger "
                "disk, or export the cache to one: textdiff cache export"
            ) from error
        return self._kept[name, offset]

    def _room_for(self, size: int) -> int:
        """Where so many bytes can go in the file that is being filled."""
        if os.getpid() != self._pid or self._used + size > self._pages.size:
            self._begin(max(SEGMENT_BYTES, size))
        start = self._used
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        return start

    def _begin(self, size: int) -> None:
        """Begin another file; a process that was forked fills files of its own."""
        with tempfile.TemporaryFile(prefix="textdiff-", buffering=0) as file:
            file.truncate(size)
            pages = mmap.mmap(file.fileno(), size)
            if self._file >= 0:
                os.close(self._file)
            self._file = os.dup(file.fileno())
        self._pages, self._used, self._pid = np.frombuffer(pages, np.uint8), 0, os.getpid()


def _write(file: int, content: bytes, start: int) -> None:
    """Through the file and not the mapping, which would end the process where the disk is full."""
    left = memoryview(content)
    while left:
        done = os.pwrite(file, left, start)
        left, start = left[done:], start + done


class RemoteObject:
    """A shard in an object store: a request for its index, and one for each row with its checksum.

    Args:
        remote: the object.
        spool: where rows are kept; `None`: nowhere, and there is no `row`.
    """

    def __init__(self, remote: Remote, spool: Spool | None) -> None:
        self._remote, self._spool = remote, spool

    @property
    def size_bytes(self) -> int:
        """As `ByteSource`."""
        return self._remote.size_bytes()

    def lacks(self, end: int) -> bool:
        """As `ByteSource`."""
        del end
        return False

    def tail(self, size: int) -> bytes:
        """As `ByteSource`."""
        return self._remote.read_range(-size, None)

    def read_row(self, offset: int, size: int, out: Bytes | None) -> tuple[int, int]:
        """As `ByteSource`."""
        content = self._fetch(offset, size)
        data = np.frombuffer(content, np.uint8, size)
        if out is not None:
            out[:] = data
        return google_crc32c.value(data), number_of(content[size:])

    def hold(self) -> None:
        """As `ByteSource`: nothing is needed."""

    def row(self, offset: int, size: int) -> tuple[Bytes, int]:
        """As `ByteSource`: a view of the spool."""
        if self._spool is None:
            raise AssertionError(f"{self._remote}: rows are viewed through a spool")
        found = self._spool.get(str(self._remote), offset)
        if found is None:
            content = self._fetch(offset, size)
            found = self._spool.keep(str(self._remote), offset, content[:size], number_of(content[size:]))
        return found

    def close(self) -> None:
        """As `ByteSource`: nothing is open."""

    def _fetch(self, offset: int, size: int) -> bytes:
        content = self._remote.read_range(offset, offset + size + CRC_BYTES)
        if len(content) != size + CRC_BYTES:
            raise cut_short(self._remote)
        return content
