"""The log of a session: events that are on the disk before anybody says that they are saved.

A line is JSON without spaces, a tab, the CRC-32C of the JSON as 8 hexadecimal digits, and a newline. The first line
names format and version. What a crash left unfinished at the end is cut off; damage anywhere else is an error.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import google_crc32c
import msgspec
from portalocker import LockFlags

from ....cache.storage.atomic import write_durably
from ....cache.storage.locks import try_lock
from ....errors import DataError, RunError
from .events import Record

FORMAT, VERSION = "textdiff-labels", 1


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    format: str = FORMAT
    version: int = VERSION


class StrokeLog:
    """An open log, to which one process appends. Safe in threads."""

    def __init__(self, path: Path) -> None:
        """Open a log, or begin one, and cut off what a crash left unfinished.

        Raises:
            RunError: Another process has it open.
            DataError: It is damaged, or of another format or version.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = path.with_name(f"{path.name}.lock").open("ab")
        try:
            _lock(self._lock, path)
            if not path.exists():
                write_durably(path, [_line(msgspec.json.encode(Header()))])
            content = path.read_bytes()
            self.records, n_whole = _read(path, content)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except BaseException:
            self._lock.close()
            raise
        self.cut = "" if n_whole == len(content) else _cut(path, len(content) - n_whole)
        """Line on the unfinished end that was removed; "" where there was none."""
        if self.cut:
            os.ftruncate(self._file, n_whole)
            os.fsync(self._file)
        self._written = self._synced = n_whole
        self._failed = False
        self._syncing = threading.Lock()

    def append(self, record: Record) -> int:
        """Write a record; the caller holds a lock, so that records stand in the order of their numbers.

        Returns:
            The place up to which `sync` must come before the record is on the disk.

        Raises:
            OSError: It could not be written, and the log is as it was.
        """
        if self._failed or self._lock.closed:
            raise OSError(errno.EIO, "The log is closed, or could not be written to before; start again")
        line = memoryview(_line(msgspec.json.encode(record)))
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            self._failed = True  # until the rest of a line is gone
            os.ftruncate(self._file, self._written)
            self._failed = False
            raise
        self._written += len(line)
        return self._written

    def sync(self, end: int) -> None:
        """Wait until everything before a place is on the disk; one request of the disk serves all who wait.

        Raises:
            OSError: The disk did not take it. Nothing more is written then.
        """
        with self._syncing:
            if self._synced >= end:
                return
            if self._lock.closed:
                raise OSError(errno.EIO, "The log is closed")
            written = self._written
            try:
                os.fsync(self._file)
            except OSError:
                self._failed = True
                raise
            self._synced = written

    def close(self) -> None:
        """Close the file, all of it on the disk, and let others open it."""
        with self._syncing:
            if self._lock.closed:
                return
            try:
                os.fsync(self._file)
                self._synced = self._written
            finally:
                os.close(self._file)
                self._lock.close()


def read_log(path: Path) -> tuple[Record, ...]:
    """The records of a log that may be open elsewhere; an unfinished end is left out.

    Raises:
        DataError: It is damaged, or of another format or version.
        FileNotFoundError: There is none.
    """
    return _read(path, path.read_bytes())[0]


def _read(path: Path, content: bytes) -> tuple[tuple[Record, ...], int]:
    """The records, and how many bytes are whole."""
    lines = content.split(b"\n")
    unfinished = lines.pop()
    if len(lines) > 1 and not unfinished and _payload(lines[-1]) is None:
        unfinished = lines.pop() + b"\n"
    if unfinished.count(b"\t") > 1:  # JSON has none: two lines, of which one was whole
        lines.append(unfinished)
    payloads = [_payload(line) for line in lines]
    damaged = [str(number) for number, payload in enumerate(payloads, start=1) if payload is None]
    if damaged or not payloads:
        where = f"line {', '.join(damaged[:5])} of {len(lines)}" if damaged else "its first line"
        raise DataError(f"{path} is damaged: {where} is not as it was written; restore the file from a copy")
    records = tuple(_decoded(path, [payload for payload in payloads if payload is not None]))
    return records, len(content) - len(unfinished)


def _decoded(path: Path, payloads: list[bytes]) -> Iterator[Record]:
    try:
        header = msgspec.json.decode(payloads[0], type=Header)
        if header != Header():
            raise DataError(
                f"{path} has format {header.format} {header.version}; this textdiff reads {FORMAT} {VERSION}: use the "
                "textdiff that wrote it"
            )
        for number, payload in enumerate(payloads[1:], start=1):
            record = msgspec.json.decode(payload, type=Record)
            if record.sequence != number:
                raise DataError(
                    f"{path} is damaged: line {number + 1} has number {record.sequence}, expected {number}; restore "
                    "the file from a copy"
                )
            yield record
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is no log of strokes ({error}); restore the file from a copy") from error


def _lock(file: IO[bytes], path: Path) -> None:
    if not try_lock(file, LockFlags.EXCLUSIVE):
        raise RunError(f"{path} is open in another session; close that one, or take another --annotator")


def _line(payload: bytes) -> bytes:
    return b"%b\t%08x\n" % (payload, google_crc32c.value(payload))


def _payload(line: bytes) -> bytes | None:
    """The JSON of a line without its newline; `None` where the checksum is another."""
    payload, _, checksum = line.rpartition(b"\t")
    return payload if checksum == b"%08x" % google_crc32c.value(payload) else None


def _cut(path: Path, n_bytes: int) -> str:
    return f"{path}: the last {n_bytes} bytes were not written to their end and are cut off; at most one stroke is lost"
