"""Where a cache lies: a path, or the URL of an object store. Only this module distinguishes the two."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...errors import CacheError, ConfigError
from .remote import LocalCopies, RemotePath

Location = Path | RemotePath
"""A cache, or a file of it: `root / name` is a file of the cache at `root` in both cases."""

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Protocol → the extra of textdiff that brings its file system."""

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file."""

_URL = re.compile(r"(?P<protocol>[a-zA-Z][\w+.-]*)://")


def location(where: str | os.PathLike[str] | Location) -> Location:
    """The location that the user's text names.

    Args:
        where: a path, `file://` and a path, or an URL of any kind that fsspec knows (`s3://bucket/cache`).

    Raises:
        ConfigError: if no file system is installed for this kind of URL, or a slash is missing.
    """
    if isinstance(where, Path | RemotePath):
        return where
    text = os.fspath(where)
    url = _URL.match(text)
    if url is None:
        _refuse_half_url(text)
        return Path(text)
    if url["protocol"].lower() in ("file", "local"):
        return Path(text[url.end() :])
    _require(url["protocol"], text)
    return RemotePath(text)


def on_disk(root: Location) -> Path | None:
    """The path of a location on a disk; `None`: it is in an object store."""
    return root if isinstance(root, Path) else None


def with_local_copies(root: Location) -> Location:
    """The same cache; the shards that are opened through it are local files, which are downloaded at first use."""
    return RemotePath(str(root), LocalCopies()) if isinstance(root, RemotePath) else root


def refuse_hdf5(root: Location) -> None:
    """Refuse an HDF5 file that is given as a cache: it is made to be handed on.

    Raises:
        CacheError: if it is one.
    """
    if (path := on_disk(root)) and is_hdf5(path):
        raise CacheError(
            f"{root}: an HDF5 file, which is not read in place; bring the cache back to a folder: textdiff cache "
            f"export {root} FOLDER"
        )


def is_hdf5(path: Path) -> bool:
    """Whether `path` is an HDF5 file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


def names_below(root: Location) -> Iterator[str]:
    """Every file below `root`, by its path from there, with forward slashes; folder by folder, sorted in each."""
    if isinstance(root, RemotePath):
        yield from root.names()
        return
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in sorted(names))


def remove_folder(folder: Location) -> None:
    """Remove `folder` with all files below; nothing where there is none."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in folder.names():
        (folder / name).unlink(missing_ok=True)


def free_bytes(root: Location) -> int | None:
    """Free space on the disk where `root` is or will be; `None`: unknown, as of every object store."""
    if isinstance(root, RemotePath):
        return None
    whole = root.absolute()
    return shutil.disk_usage(next(folder for folder in (whole, *whole.parents) if folder.exists())).free


def _refuse_half_url(text: str) -> None:
    """Refuse `s3:/bucket`, which would be a folder called `s3:`."""
    protocol, colon, _ = text.partition(":/")
    if colon and protocol.lower() in EXTRAS:
        raise ConfigError(f"{text}: expected two slashes after {protocol}: as in {protocol}://BUCKET/CACHE")


def _require(protocol: str, url: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        what = f"pip install 'textdiff[{extra}]'" if extra else f"pip install what is missing ({error})"
        raise ConfigError(f"{url}: URLs of {protocol}:// need a package that is not installed: {what}") from error
    except ValueError as error:
        raise ConfigError(
            f"{url}: no file system is known for {protocol}://; expected a path, or an URL such as s3://BUCKET/CACHE "
            "or gs://BUCKET/CACHE"
        ) from error
