"""JSON files that carry a checksum of their own bytes, so that no byte of them can change unseen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import CacheCorruptError, CacheError
from ..storage.atomic import canonical_json
from ..storage.location import Location
from .decoding import decode_json
from .spec import FORMAT

Content = TypeVar("Content")

CHECKSUM = "checksum"
BLANK = "0" * 64
"""Stands for the checksum while it is computed."""
_FIELD = re.compile(rb'"checksum": "[0-9a-f]{64}"')


@dataclass(frozen=True)
class _Header:
    format: int


def sealed_json(values: Mapping[str, Any]) -> bytes:
    """Indented JSON of `values` with the field `checksum`: SHA-256 of the file with 64 zeros in its place."""
    return seal(canonical_json({**values, CHECKSUM: BLANK}, indent=1))


def seal(content: bytes) -> bytes:
    """The same file with the checksum that its other bytes have."""
    blank = _with_checksum(content, BLANK)
    return _with_checksum(blank, hashlib.sha256(blank).hexdigest())


def seal_holds(content: bytes) -> bool:
    """Whether a file has a checksum, and its bytes are those that were sealed."""
    return _FIELD.search(content) is not None and seal(content) == content


def read_sealed(path: Location, kind: type[Content], *, what: str, repair: str) -> Content | None:
    """Read a sealed file that has a `format`; `None` where there is none. Arguments as of `decode_json`.

    Raises:
        CacheError: if another version of textdiff wrote it.
        CacheCorruptError: if it is not as it was written.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    header = decode_json(content, _Header, str(path), what=what, repair=repair)
    if header.format != FORMAT:
        raise CacheError(
            f"{path}: format {header.format}, this textdiff reads format {FORMAT}: use the textdiff that wrote it, or "
            "extract into a new cache"
        )
    if not seal_holds(content):
        raise CacheCorruptError(f"{path}: changed since it was written: its checksum differs; {repair}")
    return decode_json(content, kind, str(path), what=what, repair=repair)


def _with_checksum(content: bytes, checksum: str) -> bytes:
    return _FIELD.sub(f'"{CHECKSUM}": "{checksum}"'.encode(), content, count=1)
