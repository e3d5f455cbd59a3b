"""Makes and extends a cache: features unit by unit, then images, filters, labels, texts and, last, the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from ...errors import CacheError
from ..format.blocks import Pair, describe, pair_order, pairs_in_order
from ..format.digests import features_digest, labels_digest, texts_digest
from ..format.layout import FILTERS_ARRAY, ArrayLayout
from ..format.manifest import (
    COPY,
    MANIFEST,
    DerivedShardRecord,
    Manifest,
    ProjectionRecord,
    Unit,
    WorkUnit,
    write_manifest,
)
from ..format.maps import StoredMaps
from ..format.projections import Projections, projection_digest, write_projection
from ..format.samples import TABLE, SampleTable, write_table
from ..format.shard import ShardRecord, write_shard
from ..format.spec import TextSpec
from ..format.zarr_metadata import write_metadata
from ..storage.atomic import write_json
from ..storage.location import Location, remove_folder
from .derived import LABELS_ARE, DerivedShard, LoadShard, TextArrays, text_shards, wanted_shards
from .journal import TABLE_OF_PARTS, forget_derived, record_derived, record_unit, remove_journal, write_plan

WRITERS = 4
"""Shards of a unit that are written at once: one is checked while others wait for the disk (measured)."""
DERIVED_AT_ONCE = 2
"""Derived shards that are made at once: one is loaded while another waits for the disk."""


class CacheWriter:
    """Writes a cache's units and derived shards. Use it while `hold_lock` is held.

    Args:
        root: the cache's folder.
        manifest: of the cache to be, with the units that are finished (`WorkPlan.manifest`).
        unfitted: (block, timestep) whose projection is to be written before units that need it.
        lost: damaged projections among these, which must come out the same.
        begins: whether to record the manifest as the journal's plan; otherwise it stands there already, and others
            carry it out too.
        workers: shards of a unit that are written at once.
    """

    def __init__(
        self,
        root: Location,
        manifest: Manifest,
        unfitted: Iterable[Pair] = (),
        lost: Iterable[ProjectionRecord] = (),
        *,
        begins: bool = True,
        workers: int = WRITERS,
    ) -> None:
        self._root, self._manifest, self._workers = root, manifest, workers
        self._units = list(manifest.units)
        self._derived = {one.shard.path: one for one in manifest.derived_shards}
        self._unfitted = set(unfitted)
        self._lost = {record.pair: record for record in lost}
        if begins:
            write_plan(root, manifest)

    def write_projections(self, projections: Projections) -> None:
        """Write the projections of the `unfitted` pairs, or some of them, before any unit that needs them.

        Args:
            projections: (block, timestep) → float32 [1 + component, channel of the model], the mean first.

        Raises:
            CacheError: if one that was damaged came out otherwise than it was; none is written then.
        """
        self._refuse_other_projections(projections)
        records = []
        for (block, timestep), array in sorted(projections.items(), key=lambda one: pair_order(one[0])):
            n_components = self._manifest.block_shapes[block][2]
            if (block, timestep) not in self._unfitted or len(array) != 1 + n_components:
                raise AssertionError(f"{describe(block, timestep)} needs no projection of {len(array)} rows")
            records.append(write_projection(self._root, block, timestep, array))
        every = sorted([*self._manifest.projections, *records], key=lambda record: pair_order(record.pair))
        self._manifest = replace(self._manifest, projections=tuple(every))
        write_plan(self._root, self._manifest)
        self._unfitted -= projections.keys()

    def write_unit(self, pending: WorkUnit, features: Mapping[Pair, StoredMaps], conditions: Mapping[str, Any]) -> None:
        """Write a unit's shards and then record it.

        Args:
            pending: the unit.
            features: (block, timestep) → activations in the cache's dtype, rows as in `pending`.
            conditions: what else last bits depend on.

        Raises:
            CacheError: if an activation is not finite, naming blocks, timesteps and samples, or if a projection that
                the unit needs was not written yet.
        """
        self.record(self.write_shards(pending, features, conditions))

    def write_shards(
        self, pending: WorkUnit, features: Mapping[Pair, StoredMaps], conditions: Mapping[str, Any]
    ) -> Unit:
        """The first half of `write_unit`, for a worker whose units another process records."""
        self._refuse_unprojected(features)
        self._refuse_not_finite(pending, features)
        arrays = [
            array
            for pair, maps in sorted(features.items(), key=lambda one: pair_order(one[0]))
            for array in zip(self._manifest.features_layouts(*pair), maps.arrays, strict=True)
        ]
        with ThreadPoolExecutor(self._workers) as pool:
            shards = pool.map(lambda array: self._write_array(pending, *array), arrays)
        return Unit(pending.rows, pending.timesteps, pending.blocks, dict(conditions), tuple(shards))

    def record(self, unit: Unit, derived: Iterable[DerivedShardRecord] = ()) -> None:
        """Record a unit whose shards are on the disk, and know `derived` shards that another process recorded."""
        record_unit(self._root, unit)
        self._units.append(unit)
        self._derived |= {one.shard.path: one for one in derived}

    def missing(self, wanted: Iterable[DerivedShard]) -> list[DerivedShard]:
        """Those of the shards that are not there, or were made from something else."""
        known = self._derived
        return [one for one in wanted if one.path not in known or known[one.path].made_from != one.made_from]

    def write_derived(self, wanted: Iterable[DerivedShard], load: LoadShard) -> tuple[DerivedShardRecord, ...]:
        """Write and record shards that no published manifest names, before all of them are published.

        Returns:
            Records of the shards that were missing.
        """
        written = tuple(self._write_all(self.missing(wanted), load))
        self._derived |= {one.shard.path: one for one in written}
        return written

    def write_texts(self, table: SampleTable, classes: Mapping[str, Any], texts: TextArrays | None) -> None:
        """Write the texts of a cache that was never published, and the table, before all of it is published.

        Args:
            table: all samples of the request.
            classes: the classes' table, as JSON values.
            texts: embeddings of `table.texts`; `None`: there are none, or they are there.
        """
        spec = self._text_spec(table, texts)
        if texts:
            self.write_derived(text_shards(table, spec), texts.load)
        write_json(self._root / TABLE_OF_PARTS, table)
        self._manifest = replace(self._manifest, texts=spec, classes=classes)
        write_plan(self._root, self._manifest)

    def publish(
        self,
        table: SampleTable,
        classes: Mapping[str, Any],
        texts: TextArrays | None,
        *,
        filters: bool,
        load: LoadShard | None = None,
    ) -> Manifest:
        """Bring images, filters, labels and texts up to date, and then the manifest, which makes the cache whole.

        Args:
            table: all samples of the request.
            classes: the classes' table, as JSON values.
            texts: embeddings of `table.texts`; `None`: keep those of the cache.
            filters: whether the cache is to have filters; otherwise those that it has are removed.
            load: gives the rows of shards of images, labels and filters that changed; `None`: none changed.
        """
        self._manifest = replace(self._manifest, units=tuple(self._units), labels_are=LABELS_ARE)
        text_spec = self._text_spec(table, texts)
        of_files = list(wanted_shards(self._manifest.features, table.samples, classes, filters=filters))
        of_texts = list(text_shards(table, text_spec))
        wanted = {shard.path for shard in (*of_files, *of_texts)}
        missing = self.missing(of_files), self.missing(of_texts)
        left_out = self._derived.keys() - wanted | {shard.path for shards in missing for shard in shards}
        kept = [record for path, record in self._derived.items() if path not in left_out]
        if (self._root / MANIFEST).exists():
            # Shards that are written anew are forgotten first: a crash must not leave them recorded as they were.
            write_manifest(self._root, replace(self._manifest, derived_shards=tuple(kept), digests={}, complete=False))
        loaders = load, texts.load if texts else None
        written = [one for work in zip(missing, loaders, strict=True) for one in self._write_all(*work)]
        shards = tuple(sorted([*kept, *written], key=lambda one: one.shard.path))
        self._manifest = replace(self._manifest, classes=classes, texts=text_spec, derived_shards=shards)
        metadata = write_metadata(self._root, self._manifest.arrays(len(table.texts)))
        self._manifest = replace(self._manifest, metadata=metadata)
        self._finish(table)
        self._remove(self._derived.keys() - wanted)
        return self._manifest

    def _remove(self, paths: Iterable[str]) -> None:
        """Remove derived shards that the manifest no longer has, and the array of filters where none are left."""
        for path in paths:
            (self._root / path).unlink(missing_ok=True)
        if not self._manifest.has_filters:
            remove_folder(self._root / FILTERS_ARRAY)

    def _write_all(self, shards: Iterable[DerivedShard], load: LoadShard | None) -> list[DerivedShardRecord]:
        with ThreadPoolExecutor(DERIVED_AT_ONCE) as pool:
            return list(pool.map(lambda shard: self._write_shard(shard, load), shards))

    def _write_shard(self, shard: DerivedShard, load: LoadShard | None) -> DerivedShardRecord:
        if load is None:
            raise AssertionError(f"{shard.path} is to be written, and nothing loads its rows")
        forget_derived(self._root, shard.path)
        written = DerivedShardRecord(self._write_rows(shard.layout, load(shard)), shard.made_from)
        record_derived(self._root, written)
        return written

    def _finish(self, table: SampleTable) -> None:
        write_table(self._root, table)
        samples = hashlib.sha256((self._root / TABLE).read_bytes()).hexdigest()
        digests = {
            "features": features_digest(self._manifest, table.samples),
            "labels": labels_digest(self._manifest, table.samples),
            "samples": samples,
            "texts": texts_digest(self._manifest.texts, table.texts),
        }
        self._manifest = replace(self._manifest, digests=digests, complete=True)
        write_manifest(self._root, self._manifest)
        write_manifest(self._root, self._manifest, COPY)
        remove_journal(self._root)

    def _text_spec(self, table: SampleTable, texts: TextArrays | None) -> TextSpec | None:
        if not table.texts:
            return None
        return texts.spec if texts else self._manifest.texts

    def _write_array(self, pending: WorkUnit, layout: ArrayLayout, array: npt.NDArray[Any]) -> ShardRecord:
        if array.dtype != layout.dtype or array.shape != (len(pending.rows), *layout.row_shape):
            raise AssertionError(f"{layout.name}: got {array.dtype} {array.shape} for {len(pending.rows)} rows")
        return self._write_rows(layout, dict(zip(pending.rows, array, strict=True)))

    def _write_rows(self, layout: ArrayLayout, rows: Mapping[int, npt.NDArray[Any]]) -> ShardRecord:
        group = layout.locate(min(rows))[0]
        positions = {layout.locate(row)[1]: array.astype(layout.dtype, copy=False) for row, array in rows.items()}
        return write_shard(self._root, layout.shard_path(group), positions, layout.rows_per_shard)

    def _refuse_unprojected(self, features: Mapping[Pair, StoredMaps]) -> None:
        missing = pairs_in_order(features.keys() & self._unfitted)
        if missing:
            pairs = "; ".join(describe(*pair) for pair in missing)
            raise CacheError(f"{self._root}: no projection was written yet for {pairs}; fit and write it before units")

    def _refuse_other_projections(self, projections: Projections) -> None:
        """Features that are there were made with what is lost: only the same numbers can take its place."""
        other = [
            record.shard.path
            for pair, record in self._lost.items()
            if pair not in projections or projection_digest(projections[pair]) != record.digest
        ]
        if other:
            raise CacheError(
                f"{self._root}: damaged projections that cannot be made again as they were, since the training images "
                f"or the machine are others: {', '.join(sorted(other))}; restore these files from a backup, or extract "
                "into a new cache. Nothing was written"
            )

    def _refuse_not_finite(self, pending: WorkUnit, features: Mapping[Pair, StoredMaps]) -> None:
        bad = []
        for pair, maps in sorted(features.items(), key=lambda one: pair_order(one[0])):
            for position, row in enumerate(pending.rows):
                problem, key = maps.row(position).describe_not_finite(), self._manifest.rows[row]
                if problem:
                    bad.append(f"  - {describe(*pair)}, sample {key.id if key else row}: {problem}")
        if bad:
            raise CacheError(
                f"{self._root}: activations that are NaN or infinite in {self._manifest.features.dtype}:\n"
                + "\n".join(bad)
                + "\nnothing of this unit was stored; where numbers are too large for float16, use a new cache with "
                "--dtype int8 or float32; where they are NaN, leave the block out or use a more precise arithmetic"
            )
