"""The sample table: one file that says what every row is of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import CacheCorruptError
from ..storage.atomic import write_json
from ..storage.location import Location
from .decoding import REPAIR, decode_json

TABLE = "samples.json"
IGNORE = 255
"""The value in `labels` that means "not labelled"."""


@dataclass(frozen=True)
class SampleRow:
    """One sample: an image as the model saw it, with its text and its labels."""

    id: str
    """Unique; the sample's id, of a tile with its offset (`ID@Y,X`), of a view with its number (`ID~VIEW`)."""
    parent: str
    """The id of the sample in the data, which all its tiles and views share."""
    group: str
    """The patient or whole image that the sample belongs to; splits, folds and intervals count groups."""
    split: str
    """`train`, `val` or `test`."""
    row: int
    """Index along the first axis of `features`, `labels` and `images`."""
    text: int | None
    """Index along the first axis of `texts`, of a view that of the rewritten text; `None`: the sample has no text."""
    size: tuple[int, int]
    """Native height and width of the image in pixels."""
    image: str
    """The image file, relative to the table's root where it lies below it."""
    image_digest: str
    """SHA-256 of the image file."""
    mask: str | None
    """The mask file; `None`: not labelled."""
    mask_digest: str | None
    """SHA-256 of the mask file."""
    view: int = 0
    """Which flip or rotation of the image, 0 to 7 in three bits: 1 exchanges left and right, then 2 exchanges top and
    bottom, then 4 exchanges the axes; 0 is the image as it is."""
    tile: tuple[int, int] = (0, 0)
    """Offset (y, x) in the native image of the part that the row shows."""
    stratum: str = ""
    """The kind that the sample is of (organ, scanner, hospital): draws of groups are spread over strata; "": none."""
    weight: float = 1.0
    """How much the sample counts in a head's loss, beside the others; above 0."""
    n_pixels: tuple[int, ...] = ()
    """Pixels of each class in the sample's mask, all of it at its own size; empty where there is none."""


@dataclass(frozen=True)
class SampleTable:
    """All samples, and the distinct texts in the order of the `texts` arrays."""

    root: str
    """The folder that relative paths start from."""
    texts: tuple[str, ...]
    samples: tuple[SampleRow, ...]
    ignore: int = IGNORE
    """The value in `labels` that means "not labelled"."""


def write_table(root: Location, table: SampleTable) -> None:
    """Write the table durably."""
    write_json(root / TABLE, table)


def read_samples(root: Location, digest: str | None = None, name: str | Path = TABLE) -> SampleTable:
    """Read the table.

    Args:
        root: the cache.
        digest: SHA-256 that the file must have; `None`: any.
        name: the file, relative to the folder.

    Raises:
        CacheCorruptError: if it is absent, changed, or not a table.
    """
    what = "a sample table"
    try:
        content = (root / name).read_bytes()
    except OSError as error:
        raise CacheCorruptError(f"{root / name}: not {what} ({error}); {REPAIR}") from error
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise CacheCorruptError(f"{root / name}: changed since it was written; {REPAIR}")
    return decode_json(content, SampleTable, str(root / name), what=what, repair=REPAIR)


def parents(rows: Sequence[SampleRow]) -> tuple[str, ...]:
    """The ids of the samples that the rows are of, each once, in the order of their first rows."""
    return tuple(dict.fromkeys(row.parent for row in rows))


HASHED_NAME = re.compile(r"(h[0-9a-f]{8})-[0-9a-f]{16}")


def is_hashed(name: str) -> bool:
    """Whether an id (of a sample, of a tile or view of it) or a group is a keyed hash."""
    return HASHED_NAME.match(name) is not None
