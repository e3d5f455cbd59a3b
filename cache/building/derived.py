"""Images, filters, labels and texts: shards that are written again when what they are made from changes."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from ..format.digests import texts_digest
from ..format.layout import ArrayLayout, filters_layout, images_layout, labels_layout, texts_layouts
from ..format.samples import SampleRow, SampleTable
from ..format.spec import FeatureSpec, TextSpec, digest

LoadRow = Callable[[SampleRow], npt.NDArray[np.uint8]]
"""Gives a sample's image or class indices at the model's size."""

LoadFilters = Callable[[SampleRow], npt.NDArray[np.float16]]
"""Gives the filters of a sample's image, [y, x, filter]."""


class Loaders(TypedDict):
    """What gives rows from the data's files."""

    load_image: LoadRow
    load_labels: LoadRow
    load_filters: LoadFilters | None


FILTERS_ARE = "multiscale_basic_features of standardised channels, sigma 0.5 to 8"
"""Part of what shards of filters are made from: other filters would need another name."""

LOADERS = 4
"""Rows that are loaded at once; each needs a hundred megabytes and more where it is filtered."""


@dataclass(frozen=True)
class TextArrays:
    """Token embeddings of the distinct texts."""

    spec: TextSpec
    tokens: npt.NDArray[np.float16]
    """[text, token, dim]"""
    mask: npt.NDArray[np.bool_]
    """[text, token], true on real tokens."""


@dataclass(frozen=True)
class DerivedShard:
    """A light shard as it should be."""

    layout: ArrayLayout
    group: int
    made_from: str
    load: Callable[[], Mapping[int, npt.NDArray[Any]]]
    """Gives its rows; called only where the shard is to be written."""

    @property
    def path(self) -> str:
        """The file, relative to the cache's folder."""
        return self.layout.shard_path(self.group)


def image_shards(
    spec: FeatureSpec,
    samples: Sequence[SampleRow],
    classes: Mapping[str, Any],
    load_image: LoadRow,
    load_labels: LoadRow,
    *,
    load_filters: LoadFilters | None,
) -> Iterator[DerivedShard]:
    """The shards of images, labels and, where they can be loaded, filters."""
    images = images_layout(spec.image_size, spec.rows_per_shard)
    labels = labels_layout(spec.image_size, spec.rows_per_shard)
    filters = filters_layout(spec.image_size, spec.rows_per_shard)
    for group, members in _by_shard(samples, labels).items():
        of_images = [[sample.row, sample.image_digest] for sample in members]
        of_masks = [[sample.row, sample.mask_digest] for sample in members]
        yield DerivedShard(images, group, digest(of_images), partial(_load_rows, members, load_image))
        made_from = digest([dict(classes), of_masks])
        yield DerivedShard(labels, group, made_from, partial(_load_rows, members, load_labels))
        if load_filters:
            made_from = digest([FILTERS_ARE, of_images])
            yield DerivedShard(filters, group, made_from, partial(_load_rows, members, load_filters))


def divide_among_parts(
    wanted: Iterable[DerivedShard], published: Container[str], n_parts: int
) -> list[list[DerivedShard]]:
    """For each part its share of the shards that no published manifest names: all of the same rows to the same part."""
    new = [light for light in wanted if light.path not in published]
    groups = sorted({light.group for light in new})
    part_of = {group: place % n_parts for place, group in enumerate(groups)}
    return [[light for light in new if part_of[light.group] == part] for part in range(n_parts)]


def text_shards(table: SampleTable, spec: TextSpec | None, texts: TextArrays | None) -> Iterator[DerivedShard]:
    """The shards of tokens and masks; without `texts`, those that are there are right."""
    if spec is None:
        return
    made_from = texts_digest(spec, table.texts)
    layouts = texts_layouts(spec.n_tokens, spec.dim)
    for layout, array in zip(layouts, (texts.tokens, texts.mask) if texts else (None, None), strict=True):
        for start in range(0, len(table.texts), layout.rows_per_shard):
            rows = range(start, min(start + layout.rows_per_shard, len(table.texts)))
            yield DerivedShard(layout, layout.locate(start)[0], made_from, partial(_pick_rows, array, rows))


def _load_rows(samples: Sequence[SampleRow], load: LoadRow | LoadFilters) -> dict[int, npt.NDArray[Any]]:
    with ThreadPoolExecutor(LOADERS) as pool:  # decoding files takes the time
        return dict(zip((sample.row for sample in samples), pool.map(load, samples), strict=True))


def _pick_rows(array: npt.NDArray[Any] | None, rows: Sequence[int]) -> dict[int, npt.NDArray[Any]]:
    if array is None:
        raise AssertionError("texts that are said to be in the cache are not")
    return {row: array[row] for row in rows}


def _by_shard(samples: Sequence[SampleRow], layout: ArrayLayout) -> dict[int, list[SampleRow]]:
    groups: dict[int, list[SampleRow]] = {}
    for sample in sorted(samples, key=lambda sample: sample.row):  # in whatever order the table has them
        groups.setdefault(layout.locate(sample.row)[0], []).append(sample)
    return groups
