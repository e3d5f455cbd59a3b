"""What is there, what was asked for, and so what is left to do. Nothing here writes.

Rows are given out once and never move. New images begin a new shard, so that a shard that is on the disk is never
written again, and the batch that made it is never made in another composition.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from ...errors import CacheError, CacheIncompleteError, CacheMismatchError
from ..format.layout import filters_layout
from ..format.manifest import PLAN, Manifest, ProjectionRecord, RowKey, Unit, read_manifest, recover_manifest
from ..format.maps import QUANTISED
from ..format.spec import LOCATION_FIELDS, FeatureSpec
from ..storage.location import Location, names_below
from ..storage.locks import LOCK
from .journal import read_journal, read_light


@dataclass(frozen=True)
class PendingUnit:
    """Work to do: one forward over some rows of one shard."""

    rows: tuple[int, ...]
    timesteps: tuple[int, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class WorkPlan:
    """What a request comes to."""

    manifest: Manifest
    """The cache's manifest, with the rows of this request and the finished units."""
    rows: tuple[int, ...]
    """For each sample asked for, its row."""
    pending: tuple[PendingUnit, ...]
    """The units to make, in order."""
    unfitted: tuple[tuple[int, int], ...]
    """(block, timestep) whose projection has to be fitted and written before the units."""
    unfiltered: tuple[int, ...]
    """Rows whose filters have to be written; none where filters were not asked for."""
    size_bytes: int
    """What the pending units and the filters will add to the disk."""
    lost: tuple[ProjectionRecord, ...] = ()
    """Projections whose files are damaged: fitted again, they must come out the same."""


def read_state(root: Location, *, resume: bool) -> Manifest | None:
    """What the cache at `root` holds, finished units of an interrupted extraction included; `None`: nothing yet.

    Raises:
        CacheError: if the folder holds something else.
        CacheIncompleteError: if an extraction did not finish and `resume` is false.
    """
    published, plan = recover_manifest(root) if resume else read_manifest(root), read_manifest(root, PLAN)
    if published is None and plan is None:
        if _is_something_else(root):
            raise CacheError(f"{root}: exists and is not a feature cache; give a new name, or an existing cache")
        return None
    finished = (published.units if published else ()) + read_journal(root)
    if plan is None and published and published.complete:
        return published
    if not resume:
        raise CacheIncompleteError(
            f"{root}: holds an extraction that did not finish ({len(finished)} units are done); "
            "add --resume to go on with it, or remove the folder to begin again"
        )
    unique = {(unit.rows, unit.timesteps, unit.blocks): unit for unit in finished}
    done = published or plan
    if done is None:
        raise AssertionError("neither published nor begun")
    light = {one.shard.path: one for one in (*done.light_shards, *read_light(root))}
    done = replace(done, units=tuple(unique.values()), light_shards=tuple(light.values()))
    if plan is None or published is None:
        return done
    # The plan was made before publishing began, which may have dropped what it was about to write anew.
    return replace(done, rows=plan.rows, block_shapes=plan.block_shapes, projections=plan.projections)


def _is_something_else(root: Location) -> bool:
    if root.is_file():
        return True
    return any(PurePosixPath(name).parts[0] not in (LOCK, PLAN.parts[0]) for name in names_below(root))


def plan_work(
    state: Manifest | None,
    spec: FeatureSpec,
    keys: Sequence[RowKey],
    block_shapes: dict[int, tuple[int, int, int]],
    timesteps: Sequence[int],
    *,
    filters: bool = False,
    damaged: Collection[str] = (),
) -> WorkPlan:
    """Compare a request with what is there.

    Args:
        state: what `read_state` found.
        spec: of the features asked for.
        keys: for each sample, what its activations are made from.
        block_shapes: block asked for → (y, x, channel) as the UNet gives them.
        timesteps: asked for.
        filters: whether filters of the images are asked for.
        damaged: paths of shards that are to be written again; units of theirs whose images are all in the data are
            done again as they were, the rows of other such units as if they were new.

    Raises:
        CacheMismatchError: if the features that are there are not those that this request needs.
    """
    manifest = state or Manifest(spec, (), {})
    _refuse_other_features(manifest, spec)
    rows, sample_rows = _assign_rows(manifest, keys)
    manifest, redo, lost = _without(manifest, set(damaged), set(sample_rows))
    stored = {block: (y, x, min(channel, spec.pca or channel)) for block, (y, x, channel) in block_shapes.items()}
    shapes = {**manifest.block_shapes, **stored}
    features = replace(manifest.features, **{name: getattr(spec, name) for name in LOCATION_FIELDS})  # the newest
    manifest = replace(manifest, features=features, rows=rows, block_shapes=shapes)
    again = tuple(PendingUnit(unit.rows, unit.timesteps, unit.blocks) for unit in redo)
    promised = replace(manifest, units=(*manifest.units, *redo))
    pending = again + _pending_units(promised, sample_rows, sorted(block_shapes), timesteps)
    unfiltered = _unfiltered(manifest, sample_rows) if filters else ()
    units_bytes = sum(_size_bytes(unit, manifest) for unit in pending)
    projected = [block for block in sorted(block_shapes) if stored[block] != block_shapes[block]]
    return WorkPlan(
        manifest,
        sample_rows,
        pending,
        unfitted=tuple(sorted({*_unfitted(manifest, pending, projected), *(record.pair for record in lost)})),
        unfiltered=unfiltered,
        size_bytes=units_bytes + _new_pictures_bytes(pending, promised) + len(unfiltered) * _filters_bytes(manifest),
        lost=lost,
    )


def part_of(plan: WorkPlan, units: Sequence[PendingUnit], unfiltered: Collection[int]) -> WorkPlan:
    """The plan of who makes only some of the units, and only some rows' filters."""
    rows = tuple(row for row in plan.unfiltered if row in unfiltered)
    units_bytes = sum(_size_bytes(unit, plan.manifest) for unit in units) + _new_pictures_bytes(units, plan.manifest)
    return replace(
        plan,
        pending=tuple(units),
        unfiltered=rows,
        size_bytes=units_bytes + len(rows) * _filters_bytes(plan.manifest),
    )


def _without(
    manifest: Manifest, damaged: Collection[str], rows: Collection[int]
) -> tuple[Manifest, tuple[Unit, ...], tuple[ProjectionRecord, ...]]:
    """The manifest without what is damaged, the units to be done again, and the projections that are lost."""
    if not damaged:
        return manifest, (), ()
    sound: list[Unit] = []
    broken: list[Unit] = []
    for unit in manifest.units:
        (broken if any(shard.path in damaged for shard in unit.shards) else sound).append(unit)
    lost = tuple(record for record in manifest.projections if record.shard.path in damaged)
    left = replace(
        manifest,
        units=tuple(sound),
        projections=tuple(record for record in manifest.projections if record not in lost),
        light_shards=tuple(light for light in manifest.light_shards if light.shard.path not in damaged),
    )
    return left, tuple(unit for unit in broken if set(unit.rows) <= set(rows)), lost


def _refuse_other_features(manifest: Manifest, spec: FeatureSpec) -> None:
    differences = manifest.features.differences(spec)
    if differences:
        raise CacheMismatchError(
            "the cache holds other features than this request needs:\n"
            + "\n".join(f"  - {line}" for line in differences)
            + "\nextract into a new cache, or give the settings that made this one"
        )


def _assign_rows(manifest: Manifest, keys: Sequence[RowKey]) -> tuple[tuple[RowKey | None, ...], tuple[int, ...]]:
    """Rows of known images stay; others are appended from the next shard on."""
    size, common = manifest.features.rows_per_shard, _rows_of_every_unit(manifest)
    known = {key: row for row, key in enumerate(manifest.rows) if key and row in common.get(row // size, {row})}
    rows = list(manifest.rows)
    new = [key for key in keys if key not in known]
    if new:
        rows += [None] * (-len(rows) % size)
    for key in new:
        known[key] = len(rows)
        rows.append(key)
    return tuple(rows), tuple(known[key] for key in keys)


def _rows_of_every_unit(manifest: Manifest) -> dict[int, set[int]]:
    """Shard → the rows that each of its units has: not a row that was left out of the data for a while."""
    common: dict[int, set[int]] = {}
    for unit in manifest.units:
        group = unit.rows[0] // manifest.features.rows_per_shard
        common[group] = common.get(group, set(unit.rows)).intersection(unit.rows)
    return common


def _unfitted(
    manifest: Manifest, pending: Sequence[PendingUnit], projected: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    needed = {(b, t) for unit in pending for b in unit.blocks for t in unit.timesteps if b in projected}
    return tuple(sorted(needed - {record.pair for record in manifest.projections}))


def _unfiltered(manifest: Manifest, rows: Sequence[int]) -> tuple[int, ...]:
    layout = filters_layout(manifest.features)
    there = {light.shard.path for light in manifest.light_shards}
    return tuple(row for row in rows if layout.shard_path(layout.locate(row)[0]) not in there)


def _filters_bytes(manifest: Manifest) -> int:
    """Of one row."""
    layout = filters_layout(manifest.features)
    return math.prod(layout.row_shape) * layout.dtype.itemsize


def _pending_units(
    manifest: Manifest, rows: Sequence[int], blocks: Sequence[int], timesteps: Sequence[int]
) -> tuple[PendingUnit, ...]:
    coverage = manifest.coverage()
    groups: dict[int, list[int]] = {}
    for row in sorted(rows):
        groups.setdefault(row // manifest.features.rows_per_shard, []).append(row)
    pending = []
    for group in groups.values():
        missing: dict[tuple[int, ...], list[int]] = {}
        for timestep in sorted(timesteps):
            lacking = tuple(b for b in blocks if not coverage.get((b, timestep), frozenset()).issuperset(group))
            if lacking:
                missing.setdefault(lacking, []).append(timestep)
        pending += [PendingUnit(tuple(group), tuple(steps), lacking) for lacking, steps in missing.items()]
    return tuple(pending)


def _size_bytes(unit: PendingUnit, manifest: Manifest) -> int:
    dtype = np.dtype(manifest.features.dtype)
    shapes = [manifest.block_shapes[block] for block in unit.blocks]
    maps = sum(y * x * channel for y, x, channel in shapes) * dtype.itemsize
    scales = sum(channel for *_, channel in shapes) * 4 if dtype == QUANTISED else 0
    return len(unit.rows) * (maps + scales) * len(unit.timesteps)


def _new_pictures_bytes(pending: Sequence[PendingUnit], manifest: Manifest) -> int:
    """Images and labels of rows that no unit has yet."""
    known = {row for unit in manifest.units for row in unit.rows}
    new = {row for unit in pending for row in unit.rows} - known
    return len(new) * manifest.features.image_size**2 * 4
