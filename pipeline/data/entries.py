"""Samples as a layout names them, before a file is opened, and the rule for their ids."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ...errors import DataError
from ..image_files.dicom_series import study_of
from ..image_files.paths import composed, kind_of, read_head, split_place, split_suffix, version_of
from ..image_files.raster import UnusableImageError
from .warnings import DataWarning

_OF_DICOM = ("", ".dcm", ".dicom", ".ima")
"""Suffixes of files that are looked into for an examination; other files are only opened to be read."""

_MAX_ID_BYTES = 200
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]|\.\.|^[. ]|[. ]$')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)  # on Windows
_ID_RULE = (
    "ids become file names on any system: no '..', no dot or space at either end, none of < > : \" / \\ | ? *, no "
    f"control characters, no names of devices, up to {_MAX_ID_BYTES} bytes"
)


@dataclass(frozen=True)
class Entry:
    """One sample as the layout names it; its image and mask exist but were not opened."""

    id: str
    group: str
    split: str
    image: Path
    mask: Path | None
    text: str
    where: str
    """Its name in messages: the image, or the row of the manifest."""
    stratum: str = ""
    weight: float = 1.0


@dataclass
class Listing:
    """Everything that a layout names, and what is wrong or odd with it, one line each."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)


def own_group(image: Path, root: Path, sample_id: str) -> str:
    """The group of an image for which none is named: its examination, its volume, or the image itself.

    The DICOM files of an examination are one group, whatever series they are of; so are the slices of any other file.

    Args:
        image: a file or a part of one.
        root: the data set's folder, from which files are named.
        sample_id: of the image.
    """
    file, place = split_place(image)
    study = _study_of(file, *version_of(file)) if split_suffix(file.name)[1].lower() in _OF_DICOM else ""
    return study or (composed(Path(os.path.relpath(file, root)).as_posix()) if place else sample_id)


@lru_cache(maxsize=1024)
def _study_of(file: Path, _changed_ns: int, _size_bytes: int) -> str:
    try:
        return study_of(file) if kind_of(read_head(file)) == "DICOM" else ""
    except (DataError, UnusableImageError):  # a problem when the file is opened
        return ""


def bad_id(sample_id: str, where: str) -> Iterator[str]:
    """A problem if an id could not name a file on Linux, macOS and Windows alike."""
    fits = 0 < len(sample_id.encode(errors="replace")) <= _MAX_ID_BYTES and all(map(_is_shown, sample_id))
    if not fits or _FORBIDDEN.search(sample_id) or _RESERVED.fullmatch(sample_id):
        yield f"{where}: the id {sample_id!r} cannot be used; {_ID_RULE}"


def _is_shown(character: str) -> bool:
    # Not printable for Python are spaces too, such as those in the names of macOS' screenshots.
    return character.isprintable() or unicodedata.category(character) == "Zs"
