"""Makes and extends a cache: features unit by unit, then images, labels, texts and, last, the manifest."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CacheBusyError, CacheError
from .layout import (
    ArrayLayout,
    features_layout,
    images_layout,
    labels_layout,
    texts_layouts,
    write_array_metadata,
    write_group_metadata,
)
from .manifest import MANIFEST, LightShard, Manifest, Unit, begin_journal, record_unit, remove_journal, write_manifest
from .plan import PendingUnit, WorkPlan
from .shards import ShardRecord, write_shard
from .spec import NOT_IDENTIFYING, TextSpec, digest
from .table import TABLE, SampleRow, SampleTable, write_table


@dataclass(frozen=True)
class TextArrays:
    """Token embeddings of the distinct texts."""

    spec: TextSpec
    tokens: npt.NDArray[np.float16]
    """[text, token, dim]"""
    mask: npt.NDArray[np.bool_]
    """[text, token], true on real tokens."""


@contextmanager
def hold_lock(root: Path) -> Iterator[None]:
    """Be the only writer of the cache at `root`; the lock goes with the process that holds it, however that ends.

    Raises:
        CacheBusyError: if another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CacheBusyError(f"{root}: another process is writing to this cache; wait until it ends") from error
        yield


class CacheWriter:
    """Carries out a plan. Use it while `hold_lock` is held.

    Args:
        root: the cache's folder.
        plan: what is left to do.
    """

    def __init__(self, root: Path, plan: WorkPlan) -> None:
        self._root = root
        self._rows = plan.rows
        self._manifest = plan.manifest
        begin_journal(root, plan.manifest)

    def write_unit(
        self, pending: PendingUnit, features: Mapping[tuple[int, int], npt.NDArray[Any]], conditions: Mapping[str, Any]
    ) -> None:
        """Write a unit's shards and then record it.

        Args:
            pending: the unit.
            features: (block, timestep) → activations [row, y, x, channel] in the cache's dtype, rows as in `pending`.
            conditions: what else last bits depend on.

        Raises:
            CacheError: if an activation is not finite, naming blocks, timesteps and samples.
        """
        self._refuse_not_finite(pending, features)
        shards = []
        for (block, timestep), activations in sorted(features.items()):
            layout = self._features_layout(block, timestep)
            shards.append(self._write_rows(layout, dict(zip(pending.rows, activations, strict=True))))
        unit = Unit(pending.rows, pending.timesteps, pending.blocks, dict(conditions), tuple(shards))
        record_unit(self._root, unit)
        self._manifest = replace(self._manifest, units=(*self._manifest.units, unit))

    def publish(
        self,
        table: SampleTable,
        classes: Mapping[str, Any],
        texts: TextArrays | None,
        load_image: Callable[[SampleRow], npt.NDArray[np.uint8]],
        load_labels: Callable[[SampleRow], npt.NDArray[np.uint8]],
    ) -> Manifest:
        """Bring images, labels and texts up to date, and then the manifest, which makes the cache whole.

        Args:
            table: all samples of the request.
            classes: the classes' table, as JSON values.
            texts: embeddings of `table.texts`; `None`: keep those that are there.
            load_image: gives a sample's image at the model's size [y, x, 3]; called only where images changed.
            load_labels: gives a sample's class indices at the model's size [y, x]; called only where they changed.
        """
        text_spec = self._text_spec(table, texts)
        wanted = [*self._pictures(table, classes, load_image, load_labels), *_text_shards(table, text_spec, texts)]
        known = {light.shard.path: light for light in self._manifest.light_shards}
        kept = [known[light.path] for light in wanted if _is_known(light, known)]
        if (self._root / MANIFEST).exists():
            # What is about to be written anew is forgotten first: a crash must not leave it recorded as it was.
            unfinished = replace(self._manifest, light_shards=tuple(kept), digests={}, complete=False)
            write_manifest(self._root, unfinished)
        written = [self._write_light(light) for light in wanted if not _is_known(light, known)]
        shards = tuple(sorted([*kept, *written], key=lambda light: light.shard.path))
        self._manifest = replace(self._manifest, classes=classes, texts=text_spec, light_shards=shards)
        self._write_metadata(len(table.texts))
        self._finish(table)
        for path in known.keys() - {light.path for light in wanted}:
            (self._root / path).unlink()
        return self._manifest

    def _pictures(
        self,
        table: SampleTable,
        classes: Mapping[str, Any],
        load_image: Callable[[SampleRow], npt.NDArray[np.uint8]],
        load_labels: Callable[[SampleRow], npt.NDArray[np.uint8]],
    ) -> Iterator[_Light]:
        spec = self._manifest.features
        images = images_layout(spec.image_size, spec.rows_per_shard)
        labels = labels_layout(spec.image_size, spec.rows_per_shard)
        for group, samples in _by_shard(table.samples, labels).items():
            of_images = [[sample.row, sample.image_digest] for sample in samples]
            of_masks = [[sample.row, sample.mask_digest] for sample in samples]
            yield _Light(images, group, digest(of_images), partial(_load_rows, samples, load_image))
            made_from = digest([dict(classes), of_masks])
            yield _Light(labels, group, made_from, partial(_load_rows, samples, load_labels))

    def _write_light(self, light: _Light) -> LightShard:
        return LightShard(self._write_rows(light.layout, light.load()), light.made_from)

    def _finish(self, table: SampleTable) -> None:
        write_table(self._root, table)
        samples = hashlib.sha256((self._root / TABLE).read_bytes()).hexdigest()
        digests = {
            "features": features_digest(self._manifest, table.samples),
            "labels": labels_digest(self._manifest.classes, table.samples),
            "samples": samples,
            "texts": texts_digest(self._manifest.texts, table.texts),
        }
        self._manifest = replace(self._manifest, digests=digests, complete=True)
        write_manifest(self._root, self._manifest)
        remove_journal(self._root)

    def _text_spec(self, table: SampleTable, texts: TextArrays | None) -> TextSpec | None:
        if not table.texts:
            return None
        return texts.spec if texts else self._manifest.texts

    def _write_metadata(self, n_texts: int) -> None:
        """Groups and arrays as Zarr sees them."""
        spec, n_rows = self._manifest.features, len(self._manifest.rows)
        pairs = sorted(self._manifest.coverage())
        groups = ["", "features", *(f"features/{block}" for block in sorted({block for block, _ in pairs}))]
        arrays = [(self._features_layout(*pair), n_rows) for pair in pairs]
        arrays += [(images_layout(spec.image_size, spec.rows_per_shard), n_rows)]
        arrays += [(labels_layout(spec.image_size, spec.rows_per_shard), n_rows)]
        if self._manifest.texts:
            groups.append("texts")
            both = texts_layouts(self._manifest.texts.n_tokens, self._manifest.texts.dim)
            arrays += [(layout, n_texts) for layout in both]
        for name in groups:
            write_group_metadata(self._root, name)
        for layout, rows in arrays:
            write_array_metadata(self._root, layout, rows)

    def _features_layout(self, block: int, timestep: int) -> ArrayLayout:
        spec = self._manifest.features
        return features_layout(block, timestep, self._manifest.block_shapes[block], spec.dtype, spec.rows_per_shard)

    def _write_rows(self, layout: ArrayLayout, rows: Mapping[int, npt.NDArray[Any]]) -> ShardRecord:
        group = layout.locate(min(rows))[0]
        positions = {layout.locate(row)[1]: array.astype(layout.dtype, copy=False) for row, array in rows.items()}
        return write_shard(self._root, layout.shard_path(group), positions, layout.rows_per_shard)

    def _refuse_not_finite(self, pending: PendingUnit, features: Mapping[tuple[int, int], npt.NDArray[Any]]) -> None:
        bad = []
        for (block, timestep), activations in features.items():
            for row, array in zip(pending.rows, activations, strict=True):
                key = self._manifest.rows[row]
                if not np.isfinite(array).all():
                    bad.append(f"  - block {block}, timestep {timestep}, sample {key.id if key else row}")
        if bad:
            raise CacheError(
                f"activations that are NaN or infinite in {self._manifest.features.dtype}:\n"
                + "\n".join(bad)
                + "\nnothing of this unit was stored; use a new cache with --dtype float32, or leave the block out"
            )


def features_digest(manifest: Manifest, samples: Sequence[SampleRow]) -> str:
    """Digest of what the features are: everything but where the UNet was found."""
    spec = {name: value for name, value in vars(manifest.features).items() if name not in NOT_IDENTIFYING}
    rows = {sample.row for sample in samples}
    pairs = sorted(pair for pair, covered in manifest.coverage().items() if rows <= covered)
    return digest([spec, pairs, sorted((sample.id, sample.image_digest) for sample in samples)])


def labels_digest(classes: Mapping[str, Any], samples: Sequence[SampleRow]) -> str:
    """Digest of what the labels are."""
    return digest([dict(classes), sorted((sample.id, sample.mask_digest or "") for sample in samples)])


def texts_digest(spec: TextSpec | None, texts: Sequence[str]) -> str:
    """Digest of what the tokens are: encoder and texts."""
    return digest([spec and [spec.encoder_digest, spec.truncated], list(texts)])


@dataclass(frozen=True)
class _Light:
    """A light shard as it should be."""

    layout: ArrayLayout
    group: int
    made_from: str
    load: Callable[[], Mapping[int, npt.NDArray[Any]]]

    @property
    def path(self) -> str:
        return self.layout.shard_path(self.group)


def _is_known(light: _Light, known: Mapping[str, LightShard]) -> bool:
    return light.path in known and known[light.path].made_from == light.made_from


def _text_shards(table: SampleTable, spec: TextSpec | None, texts: TextArrays | None) -> Iterator[_Light]:
    """The shards of tokens and masks; without `texts`, those that are there are right."""
    if spec is None:
        return
    made_from = texts_digest(spec, table.texts)
    layouts = texts_layouts(spec.n_tokens, spec.dim)
    for layout, array in zip(layouts, (texts.tokens, texts.mask) if texts else (None, None), strict=True):
        for start in range(0, len(table.texts), layout.rows_per_shard):
            rows = range(start, min(start + layout.rows_per_shard, len(table.texts)))
            yield _Light(layout, layout.locate(start)[0], made_from, partial(_pick_rows, array, rows))


def _load_rows(
    samples: Sequence[SampleRow], load: Callable[[SampleRow], npt.NDArray[np.uint8]]
) -> dict[int, npt.NDArray[Any]]:
    return {sample.row: load(sample) for sample in samples}


def _pick_rows(array: npt.NDArray[Any] | None, rows: Sequence[int]) -> dict[int, npt.NDArray[Any]]:
    if array is None:
        raise AssertionError("texts that are said to be in the cache are not")
    return {row: array[row] for row in rows}


def _by_shard(samples: Sequence[SampleRow], layout: ArrayLayout) -> dict[int, list[SampleRow]]:
    groups: dict[int, list[SampleRow]] = {}
    for sample in samples:
        groups.setdefault(layout.locate(sample.row)[0], []).append(sample)
    return groups
