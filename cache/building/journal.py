"""The journal of an extraction under way: its plan, and one small file for each finished unit and derived shard.

Each file is written whole and never appended to, so that several processes can write at once, and so that it can lie
where nothing can be appended. Publishing moves what is recorded into the manifest and removes the journal.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ...errors import CacheCorruptError
from ..format.decoding import decode_json
from ..format.manifest import PLAN, DerivedShardRecord, Manifest, Unit, write_manifest
from ..format.sealed_json import seal_holds, sealed_json
from ..format.spec import digest
from ..storage.atomic import write_durably
from ..storage.location import Location, names_below, remove_folder
from ..storage.locks import PART_LOCKS

FOLDER = PLAN.parent
UNITS, DERIVED = FOLDER / "units", FOLDER / "derived"
PARTS = FOLDER / "parts.json"
"""The plan that parts share (`shared_plan.py`)."""
TABLE_OF_PARTS = FOLDER / "samples.json"
"""The sample table, from the part that makes the texts."""
DIGITS = 12
"""Of the digest in a record's name."""
READERS = 8
"""Records that are read at once."""

Record = TypeVar("Record")


def write_plan(root: Location, plan: Manifest) -> None:
    """Record the plan, with the rows assigned to images; units that the journal records are kept."""
    write_manifest(root, replace(plan, units=(), derived_shards=()), PLAN)


def record_unit(root: Location, unit: Unit) -> None:
    """Add a finished unit, whose shards are on the disk, to the journal."""
    write_durably(root / unit_path(unit), [sealed_json(vars(unit))])


def unit_path(unit: Unit) -> Path:
    """The unit's record, relative to the cache's folder: the same for a unit that is done again."""
    name = digest(unit.key)[:DIGITS]
    return UNITS / f"{unit.rows[0]}-{name}.json"


def forget_unit(root: Location, unit: Unit) -> None:
    """Forget a unit that is to be done again."""
    (root / unit_path(unit)).unlink(missing_ok=True)


def read_journal(root: Location) -> tuple[Unit, ...]:
    """The units that were finished but not published, by rows, timesteps and blocks.

    A record that is damaged counts as a unit that is not finished.
    """
    return tuple(sorted(_read_records(root / UNITS, Unit), key=lambda unit: unit.order))


def record_derived(root: Location, record: DerivedShardRecord) -> None:
    """Record a shard of images, filters, labels or texts that is on the disk."""
    write_durably(root / derived_path(record.shard.path), [sealed_json(vars(record))])


def forget_derived(root: Location, shard_path: str) -> None:
    """Forget such a shard, before it is written again."""
    (root / derived_path(shard_path)).unlink(missing_ok=True)


def derived_path(shard_path: str) -> Path:
    """The record of a derived shard, relative to the cache's folder."""
    array, _, index = shard_path.partition("/c/")
    return DERIVED / f"{array.replace('/', '-')}-{index.split('/')[0]}.json"


def read_derived(root: Location) -> tuple[DerivedShardRecord, ...]:
    """The derived shards that were finished but not published, by path; one with a damaged record is not finished."""
    records = _read_records(root / DERIVED, DerivedShardRecord)
    return tuple(sorted(records, key=lambda record: record.shard.path))


def remove_journal(root: Location) -> None:
    """Remove the journal, when the manifest has its content.

    The shared plan goes first, so that a part that finds it finds all of the journal; the plan goes last, since the
    other files are of no meaning without it.
    """
    for path in (PARTS, TABLE_OF_PARTS):
        (root / path).unlink(missing_ok=True)
    for folder in (UNITS, DERIVED, PART_LOCKS):
        remove_folder(root / folder)
    (root / PLAN).unlink(missing_ok=True)
    remove_folder(root / FOLDER)


def _read_records(folder: Location, kind: type[Record]) -> list[Record]:
    names = [name for name in names_below(folder) if name.endswith(".json")]
    with ThreadPoolExecutor(READERS) as pool:  # across a network each takes its time
        records = pool.map(lambda name: _read_record(folder / name, kind), names)
        return [record for record in records if record is not None]


def _read_record(path: Location, kind: type[Record]) -> Record | None:
    """`None`: damaged, or absent since another process published it."""
    try:
        content = path.read_bytes()
        return decode_json(content, kind, str(path), what="a record", repair="") if seal_holds(content) else None
    except (FileNotFoundError, CacheCorruptError):
        return None
