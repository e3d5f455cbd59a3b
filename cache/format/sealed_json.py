"""JSON files that carry a checksum of their own bytes, so that no byte of them can change unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..storage.atomic import canonical_json

CHECKSUM = "checksum"
BLANK = "0" * 64
"""Stands for the checksum while it is computed."""


def sealed_json(values: Mapping[str, Any]) -> bytes:
    """Indented JSON of `values` with the field `checksum`: SHA-256 of the file with 64 zeros in its place."""
    blank = canonical_json({**values, CHECKSUM: BLANK}, indent=1)
    checksum = hashlib.sha256(blank).hexdigest()
    return blank.replace(_field(BLANK), _field(checksum), 1)


def seal_holds(content: bytes, values: Mapping[str, Any]) -> bool:
    """Whether a file's bytes are those that were sealed.

    Args:
        content: of the file.
        values: `content` as JSON.
    """
    checksum = str(values.get(CHECKSUM))
    blank = content.replace(_field(checksum), _field(BLANK), 1)
    return hashlib.sha256(blank).hexdigest() == checksum


def _field(checksum: str) -> bytes:
    return f'"{CHECKSUM}": "{checksum}"'.encode()
