"""The journal of an extraction under way: its plan, and one small file for each unit and light shard that is finished.

Each file is written whole and never appended to, so that several processes can write at once, and so that it can lie
where nothing can be appended. Publishing moves what is recorded into the manifest and removes the journal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CacheCorruptError
from .durable import TEMPORARY_SUFFIX, read_lines, write_durably
from .lock import PART_LOCKS
from .manifest import PLAN, LightShard, Manifest, Unit, write_manifest
from .seal import CHECKSUM, seal_holds, sealed_json
from .spec import digest

FOLDER = PLAN.parent
UNITS, LIGHT = FOLDER / "units", FOLDER / "light"
PARTS = FOLDER / "parts.json"
"""What parts share (`shares.py`)."""
TABLE_OF_PARTS = FOLDER / "samples.json"
"""The sample table, from the part that makes the texts."""
LINES = FOLDER / "units.jsonl"
"""Where older versions kept units, a line each; read, never written."""
DIGITS = 12
"""Of the digest in a record's name."""

Record = TypeVar("Record")


def write_plan(root: Path, plan: Manifest) -> None:
    """Record what is about to be made, with the rows given to each image; what a journal records already is kept."""
    write_manifest(root, replace(plan, units=(), light_shards=()), PLAN)


def record_unit(root: Path, unit: Unit) -> None:
    """Add a finished unit, whose shards are on the disk, to the journal."""
    write_durably(root / unit_path(unit), [sealed_json(vars(unit))])


def unit_path(unit: Unit) -> Path:
    """The unit's record, relative to the cache's folder: the same for a unit that is done again."""
    name = digest([unit.rows, unit.timesteps, unit.blocks])[:DIGITS]
    return UNITS / f"{unit.rows[0]}-{name}.json"


def forget_unit(root: Path, unit: Unit) -> None:
    """Forget a unit that is to be done again."""
    (root / unit_path(unit)).unlink(missing_ok=True)


def read_journal(root: Path) -> tuple[Unit, ...]:
    """The units that were finished but not published, by rows, timesteps and blocks.

    A record that is damaged counts as a unit that is not finished.

    Raises:
        CacheCorruptError: if a line that an older version wrote whole cannot be read.
    """
    units = {unit_path(unit): unit for unit in (*_read_lines(root), *_read_records(root / UNITS, Unit.from_dict))}
    return tuple(sorted(units.values(), key=lambda unit: (unit.rows, unit.timesteps, unit.blocks)))


def record_light(root: Path, light: LightShard) -> None:
    """Record a shard of images, filters, labels or texts that is on the disk."""
    write_durably(root / light_path(light.shard.path), [sealed_json(vars(light))])


def forget_light(root: Path, shard_path: str) -> None:
    """Forget such a shard, before it is written again."""
    (root / light_path(shard_path)).unlink(missing_ok=True)


def light_path(shard_path: str) -> Path:
    """The record of a light shard, relative to the cache's folder."""
    array, _, place = shard_path.partition("/c/")
    return LIGHT / f"{array.replace('/', '-')}-{place.split('/')[0]}.json"


def read_light(root: Path) -> tuple[LightShard, ...]:
    """The light shards that were finished but not published, by path; one with a damaged record is not finished."""
    found = _read_records(root / LIGHT, LightShard.from_dict)
    return tuple(sorted(found, key=lambda light: light.shard.path))


def remove_journal(root: Path) -> None:
    """Forget the journal, when what it records stands in the manifest.

    What parts share goes first, so that what they read while it is there is whole; the plan goes last, since it says
    what the rest is.
    """
    for path in (PARTS, TABLE_OF_PARTS, LINES):
        (root / path).unlink(missing_ok=True)
    for folder in (UNITS, LIGHT, PART_LOCKS):
        shutil.rmtree(root / folder, ignore_errors=True)
    for left in (root / FOLDER).glob(f"*{TEMPORARY_SUFFIX}"):
        left.unlink()
    (root / PLAN).unlink(missing_ok=True)
    (root / FOLDER).rmdir()


def _read_records(folder: Path, parse: Callable[[Mapping[str, Any]], Record]) -> list[Record]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = path.read_bytes()
            values = json.loads(content)
            if seal_holds(content, values):
                found.append(parse({name: values[name] for name in values if name != CHECKSUM}))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged, or gone since another process published it
    return found


def _read_lines(root: Path) -> list[Unit]:
    try:
        return [Unit.from_dict(line) for line in read_lines(root / LINES)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CacheCorruptError(
            f"{root / LINES}: not a journal of finished units ({error}); remove {(root / LINES).parent} to go on "
            "from what was published before"
        ) from error
