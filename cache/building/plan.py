"""The work that is left: the difference between a request and the state of the cache. Nothing here writes.

Rows are assigned once and never move. New images begin a new shard, so that a written shard is never
written again, and the batch that made it never gets another composition.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ...errors import CacheError, CacheIncompleteError, CacheMismatchError
from ..format.blocks import NO_NOISE, Block, Pair, encoder_of, in_order, pairs_in_order
from ..format.layout import filters_layout, images_layout, labels_layout
from ..format.manifest import (
    COPY,
    MANIFEST,
    PLAN,
    Manifest,
    ProjectionRecord,
    RowKey,
    Unit,
    WorkUnit,
    read_manifest,
    recover_manifest,
)
from ..format.spec import LOCATION_FIELDS, EncoderSpec, FeatureSpec
from ..storage.location import Location, names_below
from ..storage.locks import LOCK
from .journal import read_derived, read_journal


@dataclass(frozen=True)
class WorkPlan:
    """The work that a request needs."""

    manifest: Manifest
    """The cache's manifest, with the rows of this request and the finished units."""
    rows: tuple[int, ...]
    """For each sample asked for, its row."""
    pending: tuple[WorkUnit, ...]
    """The units to make, in order."""
    unfitted: tuple[Pair, ...]
    """(block, timestep) whose projection has to be fitted and written before the units."""
    unfiltered: tuple[int, ...]
    """Rows whose filters have to be written; none where filters were not asked for."""
    size_bytes: int
    """Bytes that the pending units and the filters will add to the disk."""
    lost: tuple[ProjectionRecord, ...] = ()
    """Projections whose files are damaged: fitted again, they must come out the same."""


def read_state(root: Location, *, resume: bool) -> Manifest | None:
    """State of the cache at `root`, finished units of an interrupted extraction included; `None`: no cache yet.

    Raises:
        CacheError: if the folder holds something else.
        CacheIncompleteError: if an extraction did not finish and `resume` is false.
    """
    published, plan = recover_manifest(root) if resume else read_manifest(root), read_manifest(root, PLAN)
    if published is None and plan is None:
        refuse_foreign(root)
        return None
    finished = (published.units if published else ()) + read_journal(root)
    if plan is None and published and published.complete:
        return published
    if not resume:
        raise CacheIncompleteError(
            f"{root}: holds an extraction that did not finish ({len(finished)} units are done); "
            "add --resume to go on with it, or remove the folder to begin again"
        )
    unique = {unit.key: unit for unit in finished}
    done = published or plan
    if done is None:
        raise AssertionError("neither published nor begun")
    derived = {one.shard.path: one for one in (*done.derived_shards, *read_derived(root))}
    done = replace(done, units=tuple(unique.values()), derived_shards=tuple(derived.values()))
    if plan is None or published is None:
        return done
    # The plan was made before publishing began, which may have dropped what it was about to write anew.
    return replace(
        done,
        features=plan.features,
        encoders=plan.encoders,
        rows=plan.rows,
        block_shapes=plan.block_shapes,
        projections=plan.projections,
    )


def refuse_foreign(root: Location) -> None:
    """Refuse a folder or file that is not a cache, before anything is made in it.

    Raises:
        CacheError: if there is something else at `root`.
    """
    if not any((root / name).exists() for name in (MANIFEST, COPY, PLAN)) and _is_something_else(root):
        raise CacheError(f"{root}: exists and is not a feature cache; give a new name, or an existing cache")


def _is_something_else(root: Location) -> bool:
    if root.is_file():
        return True
    return any(PurePosixPath(name).parts[0] not in (LOCK, PLAN.parts[0]) for name in names_below(root))


def plan_work(
    state: Manifest | None,
    spec: FeatureSpec,
    keys: Sequence[RowKey],
    block_shapes: Mapping[Block, tuple[int, int, int]],
    timesteps: Sequence[int],
    *,
    encoders: Mapping[str, EncoderSpec] | None = None,
    filters: bool = False,
    damaged: Collection[str] = (),
) -> WorkPlan:
    """Compare a request with the state of the cache.

    Args:
        state: what `read_state` found.
        spec: of the features asked for.
        keys: for each sample, what its activations are made from.
        block_shapes: block of the UNet or layer of an encoder asked for → (y, x, channel) as the model gives them.
        timesteps: asked for, of the UNet.
        encoders: those whose layers are asked for, by name.
        filters: whether filters are asked for.
        damaged: paths of shards that are to be written again; units of theirs whose images are all in the data are
            done again as they were, the rows of other such units as if they were new.

    Raises:
        CacheMismatchError: if the features that are there are not those that this request needs.
    """
    manifest = _for_request(state or Manifest(spec, (), {}), spec, encoders or {})
    rows, sample_rows = _assign_rows(manifest, keys)
    manifest, redo, lost = _without(manifest, set(damaged), set(sample_rows))
    stored = {block: (y, x, min(channel, spec.pca or channel)) for block, (y, x, channel) in block_shapes.items()}
    manifest = replace(manifest, rows=rows, block_shapes={**manifest.block_shapes, **stored})
    promised = replace(manifest, units=(*manifest.units, *redo))
    new = _pending_units(promised, sample_rows, in_order(block_shapes), timesteps)
    pending = (*(WorkUnit(*unit.key) for unit in redo), *new)
    unfiltered = _unfiltered(manifest, sample_rows) if filters else ()
    shortened = {block for block, shape in block_shapes.items() if shape != stored[block]}
    unfitted = pairs_in_order(_unfitted(manifest, pending, shortened) | {record.pair for record in lost})
    n_bytes = _size_bytes(promised, pending, unfiltered)
    return WorkPlan(manifest, sample_rows, pending, unfitted, unfiltered, n_bytes, lost)


def _unfitted(manifest: Manifest, units: Sequence[WorkUnit], shortened: Collection[Block]) -> set[Pair]:
    """Pairs of units whose blocks are projected, without a projection."""
    needed = {pair for unit in units for pair in unit.pairs if pair[0] in shortened}
    return needed - {record.pair for record in manifest.projections}


def part_of(plan: WorkPlan, units: Sequence[WorkUnit], unfiltered: Collection[int]) -> WorkPlan:
    """The plan of a process that makes only some of the units, and only some rows' filters."""
    rows = tuple(row for row in plan.unfiltered if row in unfiltered)
    return replace(plan, pending=tuple(units), unfiltered=rows, size_bytes=_size_bytes(plan.manifest, units, rows))


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
        derived_shards=tuple(one for one in manifest.derived_shards if one.shard.path not in damaged),
    )
    return left, tuple(unit for unit in broken if set(unit.rows) <= set(rows)), lost


def _for_request(manifest: Manifest, spec: FeatureSpec, encoders: Mapping[str, EncoderSpec]) -> Manifest:
    """The manifest with the newest places, new encoders, and its first UNet where it had none.

    Raises:
        CacheMismatchError: if what is there was made otherwise.
    """
    _refuse_other_features(manifest, spec, encoders)
    cached = manifest.features
    if spec.unet is None:
        features = replace(cached, tile_overlap=spec.tile_overlap)
    else:
        places = {name: getattr(spec, name) for name in LOCATION_FIELDS}
        features = replace(cached.with_unet_of(spec) if cached.unet is None else cached, **places)
    return replace(manifest, features=features, encoders={**manifest.encoders, **encoders})


def _refuse_other_features(manifest: Manifest, spec: FeatureSpec, encoders: Mapping[str, EncoderSpec]) -> None:
    differences = manifest.features.differences(spec)
    for name in encoders.keys() & manifest.encoders.keys():
        differences += [f"encoder {name}: {line}" for line in manifest.encoders[name].differences(encoders[name])]
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
        index = unit.rows[0] // manifest.features.rows_per_shard
        common[index] = common.get(index, set(unit.rows)).intersection(unit.rows)
    return common


def _unfiltered(manifest: Manifest, rows: Sequence[int]) -> tuple[int, ...]:
    layout = filters_layout(manifest.features)
    written = {one.shard.path for one in manifest.derived_shards}
    return tuple(row for row in rows if layout.shard_path(layout.locate(row)[0]) not in written)


def _pending_units(
    manifest: Manifest, rows: Sequence[int], blocks: Sequence[Block], timesteps: Sequence[int]
) -> tuple[WorkUnit, ...]:
    coverage = manifest.coverage()
    models = dict.fromkeys(map(encoder_of, blocks))
    of_model = {name: tuple(block for block in blocks if encoder_of(block) == name) for name in models}
    by_shard: dict[int, list[int]] = {}
    for row in sorted(rows):
        by_shard.setdefault(row // manifest.features.rows_per_shard, []).append(row)
    pending = []
    for members in by_shard.values():
        missing: dict[tuple[Block, ...], list[int]] = {}
        for name, of in of_model.items():
            for timestep in sorted(timesteps) if name is None else [NO_NOISE]:
                lacking = tuple(b for b in of if not coverage.get((b, timestep), frozenset()).issuperset(members))
                if lacking:
                    missing.setdefault(lacking, []).append(timestep)
        pending += [WorkUnit(tuple(members), tuple(steps), lacking) for lacking, steps in missing.items()]
    return tuple(pending)


def _size_bytes(manifest: Manifest, units: Sequence[WorkUnit], unfiltered: Sequence[int]) -> int:
    """Bytes that units and filters add to the disk, with images and labels of rows that no unit has yet."""
    spec = manifest.features
    of_images = images_layout(spec).row_bytes + labels_layout(spec).row_bytes
    new = {row for unit in units for row in unit.rows} - {row for unit in manifest.units for row in unit.rows}
    n_bytes = len(new) * of_images + len(unfiltered) * filters_layout(spec).row_bytes
    for unit in units:
        layouts = (layout for pair in unit.pairs for layout in manifest.features_layouts(*pair))
        n_bytes += len(unit.rows) * sum(layout.row_bytes for layout in layouts)
    return n_bytes
