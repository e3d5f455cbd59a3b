"""Finds every byte of a cache that is not the one that was written, and every file that is none of the cache's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ..errors import CacheError
from .format.layout import TEXTS_PER_SHARD
from .format.manifest import COPY, MANIFEST, PLAN, Manifest, read_manifest
from .format.samples import TABLE
from .format.shard import ShardRecord, check_shard, unreadable
from .storage.atomic import TEMPORARY_SUFFIX
from .storage.location import Location, names_below
from .storage.locks import LOCK, PART_LOCKS

CHECKERS = 4
"""Shards that are read at once."""
UNRECORDED = (
    "features/",
    "encoders/",
    "scales/",
    "projections/",
    "images/",
    "filters/",
    "labels/",
    "texts/",
    f"{PLAN.parts[0]}/",
)
"""Where an extraction under way has files that the manifest does not name yet."""


@dataclass(frozen=True)
class ShardPlace:
    """A shard that the manifest records, and what lies in it."""

    record: ShardRecord
    rows_per_shard: int
    rows: tuple[int, ...]
    """Along the array's first axis: rows, texts or components; more than there are where the array ends."""

    @property
    def array(self) -> str:
        """The array's folder: `features`, `texts`, ..."""
        return self.record.path.split("/", 1)[0]


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written."""

    path: str
    """Relative to the cache's folder."""
    problem: str
    place: ShardPlace | None = None
    """`None`: the file is no shard."""
    rows: tuple[int, ...] = ()
    """Those of `place` whose numbers are lost."""


def shard_places(manifest: Manifest) -> Iterator[ShardPlace]:
    """Every shard of a cache, features first."""
    size = manifest.features.rows_per_shard
    for unit in manifest.units:
        yield from (ShardPlace(record, size, unit.rows) for record in unit.shards)
    for projection in manifest.projections:
        n_components = projection.shape[0]
        yield ShardPlace(projection.shard, n_components, tuple(range(n_components)))
    for derived in manifest.derived_shards:
        n_rows = TEXTS_PER_SHARD if derived.shard.path.startswith("texts/") else size
        yield ShardPlace(derived.shard, n_rows, _rows_of_shard(derived.shard.path, n_rows))


def check_shards(root: Location, places: Sequence[ShardPlace]) -> Iterator[tuple[ShardPlace, Damage | None]]:
    """Read every shard whole, several at once; gives each, in order, with its damage."""
    with ThreadPoolExecutor(CHECKERS) as pool:
        yield from zip(places, pool.map(partial(_check_shard, root), places), strict=True)


def _check_shard(root: Location, place: ShardPlace) -> Damage | None:
    damage = check_shard(root, place.record, place.rows_per_shard)
    if damage is None:
        return None
    first = min(place.rows) // place.rows_per_shard * place.rows_per_shard
    lost = place.rows if damage.positions is None else [first + position for position in damage.positions]
    return Damage(place.record.path, damage.problem, place, tuple(row for row in place.rows if row in lost))


def check_tables(root: Location, manifest: Manifest) -> list[Damage]:
    """Compare the manifest, its copy, the sample table, the metadata of the arrays and the lock with what was written.

    Args:
        root: the cache.
        manifest: as it was recovered.
    """
    digests = {**manifest.metadata, TABLE: manifest.digests["samples"]}
    damages = [damage for path, digest in digests.items() if (damage := _check_digest(root, path, digest))]
    damages += _check_manifests(root)
    if (root / LOCK).exists() and (root / LOCK).read_bytes():
        damages.append(Damage(LOCK, "is not empty"))
    return damages


def foreign_files(root: Location, manifest: Manifest) -> list[str]:
    """Files that the cache does not know, by their paths; what a crash left under a name of ours is not among them."""
    known = {record.path for record in manifest.shards()} | {*manifest.metadata, MANIFEST, COPY, TABLE, LOCK}
    under_way = UNRECORDED if (root / PLAN).exists() else (f"{PART_LOCKS.as_posix()}/",)  # of a part that was refused
    return [
        path
        for path in names_below(root)
        if path.removesuffix(TEMPORARY_SUFFIX) not in known and not path.startswith(under_way)
    ]


def _check_digest(root: Location, path: str, digest: str) -> Damage | None:
    try:
        content = (root / path).read_bytes()
    except OSError as error:
        return Damage(path, unreadable(error))
    return None if hashlib.sha256(content).hexdigest() == digest else Damage(path, "changed since it was written")


def _check_manifests(root: Location) -> Iterator[Damage]:
    try:
        read_manifest(root)
    except CacheError as error:  # also what claims to be of a newer format, beside a copy that does not
        yield Damage(MANIFEST, str(error).removeprefix(f"{root / MANIFEST}: ").partition("; ")[0])
        return  # its copy was read
    if not (root / COPY).exists():
        yield Damage(COPY, "absent")
    elif (root / COPY).read_bytes() != (root / MANIFEST).read_bytes():
        yield Damage(COPY, f"differs from {MANIFEST}")


def _rows_of_shard(path: str, n_rows: int) -> tuple[int, ...]:
    index = int(path.split("/c/", 1)[1].split("/", 1)[0])
    return tuple(range(index * n_rows, (index + 1) * n_rows))
