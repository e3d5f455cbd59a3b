"""The journal of an extraction under way: its plan, and one small file for each finished unit.

A file a unit, each written whole and never changed, so that several processes can write at once and so that it can lie
where nothing can be appended to a file. Publishing moves the units into the manifest and removes the journal.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..errors import CacheCorruptError
from .durable import read_lines, remove_folder, write_durably
from .location import Location
from .lock import PART_LOCKS
from .manifest import PLAN, Manifest, Unit, write_manifest
from .places import Place, names_below
from .seal import CHECKSUM, seal_holds, sealed_json
from .spec import digest

FOLDER = PLAN.parent
UNITS = FOLDER / "units"
LINES = FOLDER / "units.jsonl"
"""Where older versions kept units, a line each; read, never written."""
DIGITS = 12
"""Of the digest in a record's name."""
READERS = 8
"""Records that are read at once."""


def begin_journal(root: Location, plan: Manifest) -> None:
    """Record what is about to be made, with the rows given to each image; units already in a journal are kept."""
    write_manifest(root, replace(plan, units=()), PLAN)


def record_unit(root: Location, unit: Unit) -> None:
    """Add a finished unit, whose shards are on the disk, to the journal."""
    write_durably(root / unit_path(unit), [sealed_json(vars(unit))])


def unit_path(unit: Unit) -> Path:
    """The unit's record, relative to the cache's folder: the same for a unit that is done again."""
    name = digest([unit.rows, unit.timesteps, unit.blocks])[:DIGITS]
    return UNITS / f"{unit.rows[0]}-{name}.json"


def read_journal(root: Place) -> tuple[Unit, ...]:
    """The units that were finished but not published, by rows, timesteps and blocks.

    A record that is damaged counts as a unit that is not finished.

    Raises:
        CacheCorruptError: if a line that an older version wrote whole cannot be read.
    """
    units = {unit_path(unit): unit for unit in (*_read_lines(root), *_read_records(root))}
    return tuple(sorted(units.values(), key=lambda unit: (unit.rows, unit.timesteps, unit.blocks)))


def remove_journal(root: Location) -> None:
    """Forget the journal, when its units stand in the manifest; the plan goes last, since it says what the rest is."""
    for folder in (UNITS, PART_LOCKS):
        remove_folder(root / folder)
    (root / LINES).unlink(missing_ok=True)
    (root / PLAN).unlink(missing_ok=True)
    remove_folder(root / FOLDER)


def _read_records(root: Place) -> list[Unit]:
    names = [name for name in names_below(root / UNITS) if name.endswith(".json")]
    with ThreadPoolExecutor(READERS) as pool:  # across a network each takes its time
        contents = pool.map(lambda name: (root / UNITS / name).read_bytes(), names)
        return [unit for content in contents if (unit := _unit(content))]


def _unit(content: bytes) -> Unit | None:
    try:
        values = json.loads(content)
        if not seal_holds(content, values):
            return None
        return Unit.from_dict({name: values[name] for name in values if name != CHECKSUM})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _read_lines(root: Place) -> list[Unit]:
    try:
        return [Unit.from_dict(line) for line in read_lines(root / LINES)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CacheCorruptError(
            f"{root / LINES}: not a journal of finished units ({error}); remove {(root / LINES).parent} to go on "
            "from what was published before"
        ) from error
