"""A config as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...cache.storage.location import Location

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def to_dict(config: DataclassInstance) -> dict[str, Any]:
    """A config as plain JSON values, paths and URLs as text."""
    return {name: str(value) if isinstance(value, Location) else value for name, value in asdict(config).items()}
