"""Rows of a data set: which there are, their pixels and labels read from the files, and the cache's table of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...cache.format.manifest import RowKey
from ...cache.format.samples import IGNORE, SampleRow, SampleTable
from ...cache.format.spec import FeatureSpec
from ...errors import DataError
from ..data.classes import Classes
from ..data.dataset import Dataset, Sample
from ..data.masks.lost_classes import LabelSize
from ..image_files.reading import open_mask
from ..images.stain import open_source
from ..views.text_rewriting import rewrite_sides, unsafe_words
from ..views.transforms import turn
from .feature_extractor import Batch
from .rows import Row, read_row, rows_of

OPEN_FILES = 4


@dataclass(frozen=True)
class DatasetRow(Row):
    """A row of a sample's image."""

    sample: Sample

    def key(self, *, text_conditioned: bool) -> RowKey:
        """Identity of the row's activations."""
        text = hashlib.sha256((self.text or "").encode()).hexdigest() if text_conditioned else None
        return RowKey(self.id, self.sample.image_digest, text)


@dataclass(frozen=True)
class Augmentation:
    """Flips and rotations that become rows of their own."""

    n_views: int = 1
    """1, 2, 4 or 8."""
    all_splits: bool = False
    """Of every split; otherwise of the training images alone."""

    def views_of(self, sample: Sample) -> range:
        """The views of a sample, as far as its text can be rewritten for them."""
        return range(self.n_views if self.all_splits or sample.split == "train" else 1)


def dataset_rows(
    samples: Sequence[Sample], spec: FeatureSpec, augmentation: Augmentation = Augmentation()
) -> tuple[DatasetRow, ...]:
    """The rows that the samples make: first all in view 0, then each view of all; tiles row by row.

    A view for which the sample's text cannot be rewritten is left out.

    Raises:
        DataError: if a sample has the id that a view of another has.
    """
    rows = tuple(
        DatasetRow(**vars(row), sample=sample)
        for view in range(augmentation.n_views)
        for sample in samples
        if view in augmentation.views_of(sample)
        for row in rows_of(sample.id, sample.size, sample.text, spec, [view])
    )
    twice = [name for name, n in Counter(row.id for row in rows).items() if n > 1]
    if twice:
        raise DataError("these are ids of samples and of other samples' views (ID~VIEW); rename the samples:", twice)
    return rows


def views_left_out(samples: Sequence[Sample], augmentation: Augmentation) -> list[str]:
    """One line for each text that cannot be rewritten for all of its samples' views: the views, and why."""
    lines, needed = [], dict[str, range]()
    for sample in samples:
        needed[sample.text] = max(needed.get(sample.text, range(1)), augmentation.views_of(sample), key=len)
    for text, views in needed.items():
        unsafe = {view: unsafe_words(text, view) for view in views if rewrite_sides(text, view) is None}
        if unsafe:
            words = ", ".join(dict.fromkeys(repr(word) for words in unsafe.values() for word in words))
            lines.append(f"views {','.join(map(str, unsafe))} of {text!r} ({words})")
    return lines


class RowReader:
    """Pixels and labels of rows, read from the files, at the model's size; safe to use from several threads.

    Args:
        spec: gives the model's size, the tiles' side, the intensity window and the stain normalisation.
        classes: the meaning of the masks' values.
    """

    def __init__(self, spec: FeatureSpec, classes: Classes) -> None:
        self._spec, self._classes = spec, classes
        # The tiles of an image follow one another: a file that must be decoded whole is decoded for all of them.
        n_open = 0 if spec.tile is None else OPEN_FILES
        self._open_image = lru_cache(n_open)(partial(open_source, window=spec.window, colours=spec.colours))
        self._open_mask = lru_cache(n_open)(partial(open_mask, content=classes.content))

    def batch(self, rows: Sequence[DatasetRow]) -> Batch:
        """The images of rows, with their ids and texts."""
        images = np.stack([self.image(row) for row in rows])
        return Batch(images, [row.id for row in rows], [row.text or "" for row in rows])

    def image(self, row: DatasetRow) -> UInt8[np.ndarray, "y x 3"]:
        """RGB; a tile at the image's border is completed by reflection."""
        return read_row(self._open_image(row.sample.image), row, self._spec)

    def labels(self, row: DatasetRow) -> UInt8[np.ndarray, "y x"]:
        """Class indices; "not labelled" where there is no mask and beyond the image's border."""
        size = LabelSize(self._spec.image_size, self._spec.tile)
        if row.sample.mask is None:
            return np.full((size.side, size.side), IGNORE, np.uint8)
        return turn(size.labels(self._open_mask(row.sample.mask), self._classes, row.offset), row.view)


def sample_table(dataset: Dataset, rows: Sequence[DatasetRow], numbers: Sequence[int]) -> SampleTable:
    """The cache's table of rows; it names no file and no folder where ids are hashed.

    Args:
        dataset: of the rows.
        rows: all of them.
        numbers: their rows in the cache's arrays.
    """
    texts = distinct_texts(rows)
    index = {text: i for i, text in enumerate(texts)}
    root = dataset.root.resolve() if dataset.names_files else None
    samples = (
        _sample_row(row, number, index.get(row.text or ""), root) for row, number in zip(rows, numbers, strict=True)
    )
    return SampleTable(str(root or ""), texts, tuple(samples))


def distinct_texts(rows: Sequence[DatasetRow]) -> tuple[str, ...]:
    """Each text once, in an order that does not depend on the samples' order."""
    return tuple(sorted({row.text for row in rows if row.text}))


def _sample_row(row: DatasetRow, number: int, text: int | None, root: Path | None) -> SampleRow:
    sample = row.sample
    return SampleRow(
        id=row.id,
        parent=sample.id,
        group=sample.group,
        split=sample.split,
        row=number,
        text=text,
        size=sample.size,
        image=sample.id if root is None else _relative(sample.image, root),
        image_digest=sample.image_digest,
        mask=None if sample.mask is None else sample.id if root is None else _relative(sample.mask, root),
        mask_digest=sample.mask_digest,
        view=row.view,
        tile=row.offset or (0, 0),
        stratum=sample.stratum,
        weight=sample.weight,
        n_pixels=sample.n_pixels,
    )


def _relative(path: Path, root: Path) -> str:
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
