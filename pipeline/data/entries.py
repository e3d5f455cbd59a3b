"""Samples as a layout names them, before a file is opened, and the rule for their ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .warnings import DataWarning

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
    """What a message calls it: the image, or the row of the manifest."""
    stratum: str = ""
    weight: float = 1.0


@dataclass
class Listing:
    """Everything that a layout names, and what is wrong or odd with it, one line each."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)


def bad_id(sample_id: str, where: str) -> Iterator[str]:
    """A problem if an id could not name a file on Linux, macOS and Windows alike."""
    fits = 0 < len(sample_id.encode(errors="replace")) <= _MAX_ID_BYTES and all(map(_is_shown, sample_id))
    if not fits or _FORBIDDEN.search(sample_id) or _RESERVED.fullmatch(sample_id):
        yield f"{where}: the id {sample_id!r} cannot be used; {_ID_RULE}"


def _is_shown(character: str) -> bool:
    # Not printable for Python are spaces too, such as those in the names of macOS' screenshots.
    return character.isprintable() or unicodedata.category(character) == "Zs"
