"""A cache in one ZIP file: its members are the cache's files, uncompressed, so that a shard is a range of the file.

`zarr.storage.ZipStore` opens it too.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import IO

from ...errors import CacheCorruptError, CacheError
from ..storage.byte_ranges import FileRange
from ..storage.paths import ARCHIVE_REPAIR, Archive, Archived

LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member (PKWARE's APPNOTE 4.3.7): before its name, of the lengths of the name and of what follows it."""
ALIGNMENT = 64
"""Bytes; of where a shard begins."""
PADDING = 0xD935
"""The extra field that Android's zipalign pads with, which readers skip."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Every member's date, so that equal caches give equal files."""


class ZipArchive(Archive):
    """The list of a ZIP file's members.

    Args:
        file: the ZIP file.

    Raises:
        CacheCorruptError: if it cannot be read.
        CacheError: if members of it are compressed.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error) as error:
            raise CacheCorruptError(f"{file}: not a whole ZIP file ({error}); {ARCHIVE_REPAIR}") from error
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
            raise CacheError(
                f"{file}: holds compressed files, which cannot be read as they lie; unpack it and read the folder, or "
                "make it again with: textdiff cache export FOLDER OUT --to zip"
            )
        self._members = {info.filename: (info.header_offset, info.file_size) for info in infos}

    def names(self) -> list[str]:
        """As `Archive`."""
        return list(self._members)

    def holds(self, path: str) -> bool:
        """As `Archive`."""
        return path in self._members or any(name.startswith(f"{path}/") for name in self._members)

    def source(self, place: Archived) -> FileRange:
        """As `Archive`."""
        if place.path not in self._members:
            raise FileNotFoundError(str(place))
        header, size_bytes = self._members[place.path]
        with self.file.open("rb") as file:
            raw = os.pread(file.fileno(), LOCAL_HEADER.size, header)
        if len(raw) != LOCAL_HEADER.size or raw[:4] != b"PK\x03\x04":
            raise CacheCorruptError(f"{place}: the ZIP file is damaged there; {ARCHIVE_REPAIR}")
        return FileRange(self.file, header + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(raw)), size_bytes, place)


class ZipWriter:
    """Writes a cache's files to a ZIP file, in the order in which they come.

    Args:
        file: open for writing, empty.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._archive = file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def add(self, path: str, content: bytes) -> None:
        """Add a file."""
        info = zipfile.ZipInfo(path, EARLIEST)
        info.external_attr = 0o644 << 16
        header = LOCAL_HEADER.size + len(path.encode()) + 4
        n_padding = -(self._file.tell() + header) % ALIGNMENT
        info.extra = struct.pack("<HH", PADDING, n_padding) + bytes(n_padding)
        self._archive.writestr(info, content)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Write the list of members."""
        self._archive.close()
