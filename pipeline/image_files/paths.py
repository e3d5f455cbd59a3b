"""Names of files, their kinds by their first bytes, and the digests that stand for their content.

A slice of a volume, or a frame of a multi-frame file, is named `FILE#INDEX`, counted from 0: `scan.nii.gz#12`. Where a
file has more than one axis, they are named: `slide.svs#level=1`, `cells.ome.zarr#level=1,z=12,c=0`, and with three
channels for red, green and blue `c=2+1+0`. Such a name goes wherever an image's path goes; `split_place` is the one
place that takes it apart.

An OME-Zarr image is a folder that counts as one file: it is listed, named and digested whole, and never entered.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ...errors import DataError

SLIDE_SUFFIXES = frozenset({".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".svslide"})
"""Of scanned slides that are read by OpenSlide or tiffslide, whatever their first bytes are."""
IMAGE_SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".tif",
        ".tiff",
        ".svs",
        ".dcm",
        ".nii",
        ".nii.gz",
        ".zarr",
        ".ome.zarr",
        *SLIDE_SUFFIXES,
    }
    | {".bmp", ".dib", ".gif", ".webp", ".jp2", ".j2k", ".jpx", ".jpf", ".jpe", ".jfif", ".dicom", ".ima"}
)
"""Lower case; a file's own suffix may be in any case."""

FileKind = Literal["PNG", "JPEG", "TIFF", "BMP", "GIF", "WebP", "JPEG 2000", "DICOM", "NIfTI", "OME-Zarr"]

Place = Mapping[str, tuple[int, ...]]
"""Which image of a file is meant: a number from 0 for each axis that is named, or several of channels.

The axis of a number that stands alone (`FILE#12`) is `INDEX`."""
INDEX = "index"

_AXIS = r"[a-z]+=\d{1,9}(?:\+\d{1,9})*"
_PLACE = re.compile(rf"(?P<file>.+)#(?:(?P<index>\d+)|(?P<axes>{_AXIS}(?:,{_AXIS})*))")
_NGFF_METADATA = (".zattrs", "zarr.json")  # of Zarr 2 and 3
_OF_THE_SYSTEM = re.compile(r"\._.*|\.DS_Store|Thumbs\.db|desktop\.ini", re.IGNORECASE)
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
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the header after the file's own
GZIP = b"\x1f\x8b"


def split_place(path: Path) -> tuple[Path, Place]:
    """The file, and which of its images is meant. A file that is really called so is a file."""
    match = _PLACE.fullmatch(path.name)
    if match is None or path.exists():
        return path, {}
    file = path.with_name(match["file"])
    if match["index"]:
        return file, {INDEX: (int(match["index"]),)}
    axes = [axis.split("=") for axis in match["axes"].split(",")]
    return file, {name: tuple(map(int, numbers.split("+"))) for name, numbers in axes}


def split_slice(path: Path) -> tuple[Path, int | None]:
    """The file, and which slice of it is meant; None for the whole, and where axes are named."""
    file, place = split_place(path)
    return file, place[INDEX][0] if INDEX in place else None


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
    """The name without its suffix, fit for naming other files: slice 12 of `scan.nii.gz` is `scan_12`."""
    file, place = split_place(path)
    stem = composed(split_suffix(file.name)[0])
    return "_".join((stem, *(f"{axis.removeprefix(INDEX)}{'-'.join(map(str, n))}" for axis, n in place.items())))


def is_image(path: Path) -> bool:
    """Whether the name is an image's: a known suffix, and not hidden as macOS' `._` companions are.

    A folder is one where it holds an OME-Zarr image; other files of Zarr are not.
    """
    file = split_place(path)[0]
    suffix = split_suffix(file.name)[1]
    return bool(suffix) and not file.name.startswith(".") and (is_ngff(file) or not suffix.lower().endswith(".zarr"))


def is_ngff(folder: Path) -> bool:
    """Whether a folder has the metadata of an OME-Zarr image, or of several of a kind (plate, series)."""
    files = (folder / name for name in _NGFF_METADATA)
    heads = (file.read_bytes() for file in files if file.is_file())
    return any(key in head for head in heads for key in (b'"multiscales"', b'"plate"', b'"bioformats2raw.layout"'))


def undecoded(name: str) -> str:
    r"""A name with its bytes that are not UTF-8 escaped (`caf\xe9.png`); "" where all are."""
    escaped = _UNDECODED.sub(lambda byte: f"\\x{ord(byte[0]) & 255:02x}", name)
    return "" if escaped == name else escaped


def kind_of(head: bytes) -> FileKind | None:
    """Kind of a file by its first bytes (`read_head`); None for no image."""
    if head[128:132] == b"DICM":
        return "DICOM"
    if _is_nifti(_unpacked(head) if head.startswith(GZIP) else head):
        return "NIfTI"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def format_of(path: Path) -> str | None:
    """Format of the file, or folder, that a path or a place in it names; `None` for what is no image.

    Raises:
        DataError: It does not exist or cannot be read.
    """
    file, _ = split_place(path)
    return "OME-Zarr" if file.is_dir() else kind_of(read_head(file))


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

    Of a slice (`FILE#INDEX`, or named axes, sorted) it is over the file's bytes followed by `#INDEX`, so that each
    slice is an image of its own. The file is read in pieces, and once for all its slices.

    Of an OME-Zarr folder it is over a line `NAME DIGEST` for each file in it, sorted by relative name; what lies in its
    own `labels`, and what a system leaves there to show folders, is not part of the image.

    Raises:
        DataError: The file does not exist or cannot be read.
    """
    file, place = split_place(path)
    try:
        if file.is_dir():
            content = _hash_of_folder(file, _version_of_folder(file)).copy()
        elif place:
            content = _hash_of_volume(file, *version_of(file)).copy()
        else:
            return _hash(file).hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    if place:
        content.update(f"#{written(place)}".encode())
    return content.hexdigest()


def written(place: Place) -> str:
    """The place as a name says it, whatever the order of its axes."""
    if INDEX in place:
        return str(place[INDEX][0])
    return ",".join(f"{axis}={'+'.join(map(str, numbers))}" for axis, numbers in sorted(place.items()))


def _files_in(folder: Path) -> Iterator[Path]:
    """The files of an OME-Zarr image, in no order."""
    for at, folders, names in os.walk(folder):
        if Path(at) == folder and "labels" in folders and not _is_of_labels(folder):
            folders.remove("labels")
        files = (Path(at, name) for name in names if not _OF_THE_SYSTEM.fullmatch(name))
        yield from (file for file in files if file.is_file())  # a pipe would be waited for


def _is_of_labels(folder: Path) -> bool:
    """Whether the image's own levels lie in `labels`, as those of predictions do."""
    return any(b'"labels/' in file.read_bytes() for name in _NGFF_METADATA if (file := folder / name).is_file())


def _version_of_folder(folder: Path) -> str:
    """A key for the digest, which holds until a file changes."""
    versions = sorted((file.relative_to(folder).as_posix(), *version_of(file)) for file in _files_in(folder))
    return hashlib.sha256(repr(versions).encode()).hexdigest()


@lru_cache(maxsize=64)
def _hash_of_folder(folder: Path, _version: str) -> hashlib._Hash:
    files = sorted((file.relative_to(folder).as_posix(), file) for file in _files_in(folder))
    content = hashlib.sha256()
    for name, file in files:
        content.update(f"{name} {_hash(file).hexdigest()}\n".encode())
    return content


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
