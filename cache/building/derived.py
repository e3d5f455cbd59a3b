"""Images, filters, labels and texts: shards derived from the data's files, written again when their sources change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..format.digests import texts_digest
from ..format.layout import ArrayLayout, filters_layout, images_layout, labels_layout, texts_layouts
from ..format.manifest import recover_manifest
from ..format.samples import SampleRow, SampleTable
from ..format.spec import FeatureSpec, TextSpec, digest
from ..storage.location import Location

FILTERS_ARE = "multiscale_basic_features of standardised channels, sigma 0.5 to 8"
"""Part of what shards of filters are made from: other filters would need another name."""

LABELS_ARE = "class of most pixels, lost classes put back"
"""Part of what shards of labels are made from: the way of resizing them; another way would need another name."""

LOADERS = 4
"""Rows that are loaded at once; each needs tens of megabytes and more where it is filtered."""


@dataclass(frozen=True)
class DerivedShard:
    """A derived shard as it should be."""

    layout: ArrayLayout
    index: int
    """Number of the shard in its array."""
    rows: tuple[int, ...]
    made_from: str
    """Digest of its sources."""

    @property
    def path(self) -> str:
        """The file, relative to the cache's folder."""
        return self.layout.shard_path(self.index)


LoadShard = Callable[[DerivedShard], Mapping[int, npt.NDArray[Any]]]
"""Gives a shard's rows; called only for shards that are to be written."""


@dataclass(frozen=True)
class TextArrays:
    """Token embeddings of the distinct texts."""

    spec: TextSpec
    tokens: npt.NDArray[np.float16]
    """[text, token, dim]"""
    mask: npt.NDArray[np.bool_]
    """[text, token], true on real tokens."""

    def load(self, shard: DerivedShard) -> dict[int, npt.NDArray[Any]]:
        """Rows of a shard of `text_shards`."""
        array: npt.NDArray[Any] = self.mask if shard.layout.name == "texts/mask" else self.tokens
        return {row: array[row] for row in shard.rows}


def row_loader(*, workers: int = LOADERS, **load_row: Callable[[int], npt.NDArray[Any]]) -> LoadShard:
    """Loader of shards from one function for each array (`images`, `labels`, `filters`), which gives a row of it.

    Images are uint8 [y, x, 3] and labels uint8 [y, x], both at the model's size; filters are float16 [y, x, filter].

    Args:
        workers: rows that are loaded at once.
        load_row: the functions, by the arrays' names.
    """

    def load(shard: DerivedShard) -> dict[int, npt.NDArray[Any]]:
        with ThreadPoolExecutor(workers) as pool:  # decoding files takes the time
            return dict(zip(shard.rows, pool.map(load_row[shard.layout.name], shard.rows), strict=True))

    return load


def wanted_shards(
    spec: FeatureSpec, samples: Sequence[SampleRow], classes: Mapping[str, Any], *, filters: bool
) -> Iterator[DerivedShard]:
    """The shards of images, labels and, where asked for, filters that a cache of these samples has."""
    images = images_layout(spec)
    labels = labels_layout(spec)
    for index, members in _by_shard(samples, labels).items():
        rows = tuple(sample.row for sample in members)
        of_images = [[sample.row, sample.image_digest] for sample in members]
        of_masks = [[sample.row, sample.mask_digest] for sample in members]
        yield DerivedShard(images, index, rows, digest(of_images))
        yield DerivedShard(labels, index, rows, digest([LABELS_ARE, dict(classes), of_masks]))
        if filters:
            layout = filters_layout(spec)
            yield DerivedShard(layout, index, rows, digest([FILTERS_ARE, of_images]))


def unpublished(root: Location, wanted: Iterable[DerivedShard]) -> list[DerivedShard]:
    """Shards that no published manifest names, which can be written before all else is there."""
    published = recover_manifest(root)
    names = {record.shard.path for record in published.derived_shards} if published else set()
    return [shard for shard in wanted if shard.path not in names]


def divide_among_parts(new: Iterable[DerivedShard], n_parts: int) -> list[list[DerivedShard]]:
    """For each part its share of unpublished shards: all of the same rows to the same part."""
    new = list(new)
    indices = sorted({shard.index for shard in new})
    part_of = {index: i % n_parts for i, index in enumerate(indices)}
    return [[shard for shard in new if part_of[shard.index] == part] for part in range(n_parts)]


def text_shards(table: SampleTable, spec: TextSpec | None) -> Iterator[DerivedShard]:
    """The shards of tokens and their masks; none without a `spec`."""
    if spec is None:
        return
    made_from = texts_digest(spec, table.texts)
    for layout in texts_layouts(spec.n_tokens, spec.dim):
        for start in range(0, len(table.texts), layout.rows_per_shard):
            rows = tuple(range(start, min(start + layout.rows_per_shard, len(table.texts))))
            yield DerivedShard(layout, layout.locate(start)[0], rows, made_from)


def _by_shard(samples: Sequence[SampleRow], layout: ArrayLayout) -> dict[int, list[SampleRow]]:
    by_shard: dict[int, list[SampleRow]] = {}
    for sample in sorted(samples, key=lambda sample: sample.row):  # in whatever order the table has them
        by_shard.setdefault(layout.locate(sample.row)[0], []).append(sample)
    return by_shard
