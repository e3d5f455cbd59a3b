"""Whether a cache is a folder, one file or an object store, and the files of it in each case."""

from __future__ import annotations

from ..storage.location import Location
from ..storage.paths import Archived, Place
from ..storage.remote import Remote

ZIP_MAGIC, HDF_MAGIC = b"PK", b"\x89HDF\r\n\x1a\n"


def files_of(root: Location) -> Place:
    """The cache's files, for reading.

    Args:
        root: a folder, a ZIP or HDF5 file (told by its first bytes), or a folder in an object store, whose rows are
            kept on this machine's disk once they were read.

    Raises:
        CacheError: if the file cannot be read.
    """
    if isinstance(root, Remote):
        return root.spooled()
    kind = archive_kind(root)
    if kind == "zip":
        from .zip import ZipArchive

        return Archived(ZipArchive(root))
    if kind == "hdf5":
        from .hdf5 import HdfArchive

        return Archived(HdfArchive(root))
    return root


def archive_kind(root: Location) -> str | None:
    """`zip` or `hdf5`; `None`: no such file."""
    if isinstance(root, Remote) or not root.is_file():
        return None
    with root.open("rb") as file:
        head = file.read(len(HDF_MAGIC))
    if head.startswith(ZIP_MAGIC):
        return "zip"
    return "hdf5" if head == HDF_MAGIC else None
