"""Parts of one extraction that were made in folders of their own, put together to one cache.

Nothing is computed: the shards are copied, each checked after it, and published, so that the bytes are those that one
process would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import CacheCorruptError, CacheError, CacheMismatchError
from ..format.manifest import PLAN, DerivedShardRecord, Manifest, Unit, WorkUnit, read_manifest
from ..format.samples import SampleTable, read_samples
from ..format.shard import ShardDamage, check_shard, read_shard
from ..storage.atomic import write_durably
from ..storage.locks import LOCK, refuse_if_locked
from ..verify import ShardPlace, shard_places
from .derived import wanted_shards
from .journal import TABLE_OF_PARTS, read_derived, read_journal
from .shared_plan import SharedPlan, differences, missing_units, read_shared_plan
from .writer import CacheWriter

COPIERS = 4
"""Shards that are copied at once."""
NAMED = 8
"""Missing things that a message names."""


@dataclass(frozen=True)
class PartFolder:
    """State in a folder of an extraction that did not finish there."""

    root: Path
    plan: Manifest
    shared: SharedPlan
    units: tuple[Unit, ...]
    derived: tuple[DerivedShardRecord, ...]

    @property
    def agreed(self) -> Mapping[str, object]:
        """Properties that all parts share; the texts are part 0's."""
        settings = {name: value for name, value in self.shared.request.items() if name != "text_encoder"}
        fitted = [(record.pair, record.digest) for record in self.plan.projections]
        return settings | {"rows": self.plan.rows, "units": self.shared.units, "projections": fitted}


@dataclass(frozen=True)
class MergePlan:
    """All parts of one extraction."""

    manifest: Manifest
    """Of the cache to be, all but what publishing adds."""
    table: SampleTable
    root_of: Mapping[str, Path]
    """Shard → the folder that it is in."""
    has_filters: bool

    @property
    def places(self) -> tuple[ShardPlace, ...]:
        """The shards to copy."""
        return tuple(shard_places(self.manifest))

    @property
    def size_bytes(self) -> int:
        """Of these shards."""
        return sum(place.record.size_bytes for place in self.places)


def plan_merge(roots: Sequence[Path]) -> MergePlan:
    """Look whether the folders hold all parts of one extraction.

    Args:
        roots: the parts' folders, in any order.

    Raises:
        CacheError: with every folder that is no part of a new cache, or with what is missing.
        CacheBusyError: if a part is still at work.
        CacheMismatchError: with every difference between the parts' settings, data or plans.
    """
    parts = _read_parts(roots)
    _refuse_differences(parts)
    first = next((part for part in parts if (part.root / TABLE_OF_PARTS).exists()), None)
    if first is None:
        raise CacheError(f"{_names(roots)}: part 0, which has the table and the texts, is none of these; give it too")
    units = {unit.key: unit for part in parts for unit in part.units}
    derived = {one.shard.path: one for part in parts for one in part.derived}
    merge = MergePlan(
        replace(first.plan, units=tuple(units.values()), derived_shards=tuple(derived.values())),
        read_samples(first.root, name=TABLE_OF_PARTS),
        dict(_roots_of(parts, first)),
        bool(first.shared.request["filters"]),
    )
    _refuse_missing(roots, merge, first.shared.units)
    return merge


def merge_parts(out: Path, merge: MergePlan, copied: Callable[[ShardPlace], None]) -> Manifest:
    """Copy the parts to `out` and publish; while its lock is held. Shards that an interrupted merge copied stay.

    Args:
        out: the cache's folder.
        merge: what `plan_merge` gave.
        copied: is given each shard once it is copied.

    Raises:
        CacheCorruptError: if a shard is not as it was written.
    """
    writer = CacheWriter(out, merge.manifest)
    with ThreadPoolExecutor(COPIERS) as pool:
        for place in pool.map(lambda place: _copy(merge.root_of[place.record.path], out, place), merge.places):
            copied(place)
    return writer.publish(merge.table, merge.manifest.classes, None, filters=merge.has_filters)


def refuse_other_folder(out: Path, merge: MergePlan) -> None:
    """Refuse to merge into a folder of something else, or into a cache.

    Raises:
        CacheError: if `out` holds something other than an unfinished merge of these parts.
    """
    if not out.exists():
        return
    begun = read_manifest(out, PLAN) if out.is_dir() else None
    names = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    other = begun is not None and (begun.rows, begun.features) != (merge.manifest.rows, merge.manifest.features)
    if other or (begun is None and names - {LOCK}) or read_manifest(out) is not None:
        raise CacheError(f"{out}: exists and is not an unfinished merge of these parts; give a new name")


def _read_parts(roots: Sequence[Path]) -> list[PartFolder]:
    problems, parts = [], []
    for root in roots:
        refuse_if_locked(root)
        plan, shared = read_manifest(root, PLAN), read_shared_plan(root)
        if root.is_dir() and read_manifest(root) is not None:
            problems.append(f"{root}: holds a whole cache; parts that extend one share its folder (docs/scaling.md)")
        elif plan is None or shared is None:
            problems.append(f"{root}: no part of an extraction; make it with --num-parts and --part-id")
        else:
            parts.append(PartFolder(root, plan, shared, read_journal(root), read_derived(root)))
    if problems:
        raise CacheError("\n".join(problems))
    return parts


def _refuse_differences(parts: Sequence[PartFolder]) -> None:
    begun, *others = parts
    lines = [f"{part.root}: {line}" for part in others for line in differences(begun.agreed, part.agreed)]
    if lines:
        raise CacheMismatchError(
            f"these are not parts of the same extraction as {begun.root}:\n"
            + "\n".join(f"  - {line}" for line in lines)
            + "\nextract them again with the same settings, data and --num-parts"
        )


def _roots_of(parts: Sequence[PartFolder], first: PartFolder) -> Iterator[tuple[str, Path]]:
    for part in parts:
        yield from ((shard.path, part.root) for unit in part.units for shard in unit.shards)
        yield from ((one.shard.path, part.root) for one in part.derived)
    yield from ((record.shard.path, first.root) for record in first.plan.projections)


def _refuse_missing(roots: Sequence[Path], merge: MergePlan, units: Sequence[WorkUnit]) -> None:
    missing = [f"rows {unit.rows[0]} to {unit.rows[-1]}" for unit in missing_units(units, merge.manifest.units)]
    manifest, made_from = merge.manifest, {light.shard.path: light.made_from for light in merge.manifest.derived_shards}
    wanted = wanted_shards(manifest.features, merge.table.samples, manifest.classes, filters=merge.has_filters)
    missing += [shard.path for shard in wanted if made_from.get(shard.path) != shard.made_from]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise CacheError(
            f"{_names(roots)}: {len(missing)} things are missing: {', '.join(missing[:NAMED])}{more}; give the folders "
            "of all parts, and repeat the command of a part that did not finish"
        )


def _copy(source: Path, out: Path, place: ShardPlace) -> ShardPlace:
    """Copy a shard that is right, unless it is there."""
    record, n_rows = place.record, place.rows_per_shard
    if (out / record.path).exists() and check_shard(out, record, n_rows) is None:
        return place
    content = read_shard(source, record, n_rows)
    if isinstance(content, ShardDamage):
        raise CacheCorruptError(f"{source / record.path}: {content.problem}; {_AGAIN}")
    write_durably(out / record.path, [content])
    return place


_AGAIN = "repeat the command that made this part with --resume, which makes it again, and merge again"


def _names(roots: Sequence[Path]) -> str:
    return ", ".join(map(str, roots))
