"""What files are called, what their first bytes say they are, and the digests that stand for their content.

A slice of a volume, or a frame of a multi-frame file, is named `FILE#INDEX`, counted from 0: `scan.nii.gz#12`. Such a
name goes wherever an image's path goes; `split_slice` is the one place that takes it apart.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ...errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svs", ".dcm", ".nii", ".nii.gz"})
"""Lower case; a file's own suffix may be in any case."""

FileKind = Literal["PNG", "JPEG", "TIFF", "DICOM", "NIfTI"]

_SLICE = re.compile(r"(?P<file>.+)#(?P<index>\d+)")
_SUFFIX = re.compile("|".join(map(re.escape, sorted(IMAGE_SUFFIXES, key=len, reverse=True))), re.IGNORECASE)
_UNDECODED = re.compile("[\ud800-\udfff]")  # Python's stand-ins for bytes of names that are not UTF-8
_HEAD_BYTES = 4096
_MAGIC: dict[bytes, FileKind] = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}
GZIP = b"\x1f\x8b"


def split_slice(path: Path) -> tuple[Path, int | None]:
    """The file, and which slice of it is meant; None for the whole. A file that is really called so is a file."""
    match = _SLICE.fullmatch(path.name)
    if match is None or path.is_file():
        return path, None
    return path.with_name(match["file"]), int(match["index"])


def split_suffix(name: str) -> tuple[str, str]:
    """A file's name without an image's suffix, and that suffix; "" where it has none that is known."""
    for match in _SUFFIX.finditer(name):
        if match.end() == len(name) and match.start() > 0:
            return name[: match.start()], match.group()
    return name, ""


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC), in which names are compared and stored.

    Accented letters of file names are decomposed on macOS, those of tables composed; files are opened by the names
    that they have.
    """
    return unicodedata.normalize("NFC", name)


def stem_of(path: Path) -> str:
    """The name without its suffix, fit for naming other files: `scan.nii.gz` is `scan`, slice 12 of it `scan_12`."""
    file, index = split_slice(path)
    stem = composed(split_suffix(file.name)[0])
    return stem if index is None else f"{stem}_{index}"


def is_image(path: Path) -> bool:
    """Whether the name is an image's: a known suffix, and not hidden as macOS' `._` companions are."""
    name = split_slice(path)[0].name
    return bool(split_suffix(name)[1]) and not name.startswith(".")


def list_images(path: Path) -> list[Path]:
    """The image or slice at `path`, or the images of the folder there, sorted by name; subfolders are not entered.

    Raises:
        DataError: Nothing is there, or nothing that is an image, or names of images are not UTF-8.
    """
    file, _ = split_slice(path)
    if not file.exists():
        raise DataError(f"{file} does not exist; expected an image or a folder of images")
    if path.is_dir():
        images = sorted(filter(is_image, path.iterdir()))
    else:
        images = [path] if is_image(path) or kind_of(read_head(file)) else []
    if not images:
        what = "holds no images" if path.is_dir() else "is not an image"
        raise DataError(f"{path} {what}; expected a name ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    if strange := [name for image in images if (name := undecoded(image.name))]:
        raise DataError(f"{path}: these names are not UTF-8, so that no record could hold them; rename them:", strange)
    return images


def undecoded(name: str) -> str:
    r"""A name with its bytes that are not UTF-8 escaped (`caf\xe9.png`); "" where all are."""
    escaped = _UNDECODED.sub(lambda byte: f"\\x{ord(byte[0]) & 255:02x}", name)
    return "" if escaped == name else escaped


def kind_of(head: bytes) -> FileKind | None:
    """What a file is, by its first bytes (`read_head`); None for what is no image."""
    if head[128:132] == b"DICM":
        return "DICOM"
    if _is_nifti(_unpacked(head) if head.startswith(GZIP) else head):
        return "NIfTI"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 348)
    except zlib.error:
        return b""


def _is_nifti(header: bytes) -> bool:
    return header[344:348] == b"n+1\0" or header[4:12] == b"n+2\0\r\n\x1a\n"


def read_head(path: Path) -> bytes:
    """As many of a file's first bytes as tell what it is.

    Raises:
        DataError: It does not exist or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_bytes(path: Path, at_most: int | None = None) -> bytes:
    """A file's content.

    Args:
        path: the file.
        at_most: bytes that it may have; `None`: any number.

    Raises:
        DataError: It does not exist, cannot be read, or is larger.
    """
    try:
        if at_most is not None and path.stat().st_size > at_most:
            raise DataError(
                f"{path} has {path.stat().st_size} bytes, over the limit of {at_most}; is it the right file?"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def file_digest(path: Path) -> str:
    """SHA-256 in hexadecimal: how a file's content is named in datasets and caches.

    Of a slice (`FILE#INDEX`) it is over the file's bytes followed by `#INDEX`, so that each slice is an image of its
    own. The file is read in pieces, and once for all its slices.

    Raises:
        DataError: The file does not exist or cannot be read.
    """
    file, index = split_slice(path)
    try:
        if index is None:
            return _hash(file).hexdigest()
        volume_hash = _hash_of_volume(file, *version_of(file)).copy()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    volume_hash.update(f"#{index}".encode())
    return volume_hash.hexdigest()


def _hash(file: Path) -> hashlib._Hash:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256")


@lru_cache(maxsize=64)
def _hash_of_volume(file: Path, _changed_ns: int, _size_bytes: int) -> hashlib._Hash:
    return _hash(file)


def version_of(file: Path) -> tuple[int, int]:
    """Time of a file's last change (ns) and its size (bytes): a key for results that hold until it changes."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size
