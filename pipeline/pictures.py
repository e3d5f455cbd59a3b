"""What the rows of a cache show: whole images or tiles of them, as the model sees them, with their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..cache.manifest import RowKey
from ..cache.table import IGNORE, SampleRow, SampleTable
from .classes import Classes
from .images import resize_image, resize_labels
from .regions import open_image, open_mask
from .rendering import Window
from .samples import Dataset, Sample
from .tiles import pad_to_tile, tile_offsets

OPEN_FILES = 4


@dataclass(frozen=True)
class Picture:
    """One row: a sample's whole image, or a tile of it."""

    sample: Sample
    offset: tuple[int, int] | None
    """(y, x) of the tile in the native image; `None`: the whole image."""

    @property
    def id(self) -> str:
        """The sample's id; of a tile, with its offset."""
        return self.sample.id if self.offset is None else f"{self.sample.id}@{self.offset[0]},{self.offset[1]}"

    def key(self, *, told_its_text: bool) -> RowKey:
        """What the row's activations are made from."""
        text = hashlib.sha256(self.sample.text.encode()).hexdigest() if told_its_text else None
        return RowKey(self.id, self.sample.image_digest, text)


def pictures_of(samples: Sequence[Sample], tile: int | None, overlap: int) -> tuple[Picture, ...]:
    """The rows that the samples make, in the samples' order; a sample's tiles from its upper left, row by row."""
    if tile is None:
        return tuple(Picture(sample, None) for sample in samples)
    return tuple(Picture(sample, offset) for sample in samples for offset in tile_offsets(sample.size, tile, overlap))


class PictureReader:
    """Reads pictures from the files, at the model's size; safe to use from several threads.

    Args:
        image_size: side of the model's input in pixels.
        tile: side of the tiles in native pixels; `None`: whole images.
        window: intensities that become 0 and 255 in images of 16 bits.
        classes: what the masks' values mean.
    """

    def __init__(self, image_size: int, tile: int | None, window: Window | None, classes: Classes) -> None:
        self._size, self._tile, self._classes = (image_size, image_size), tile, classes
        # The tiles of an image follow one another: a file that must be decoded whole is decoded for all of them.
        n_open = 0 if tile is None else OPEN_FILES
        self._open_image = lru_cache(n_open)(partial(open_image, window=window))
        self._open_mask = lru_cache(n_open)(open_mask)

    def image(self, picture: Picture) -> UInt8[np.ndarray, "y x 3"]:
        """RGB; a tile at the image's border is completed by reflection."""
        source = self._open_image(picture.sample.image)
        if self._tile is None:
            return resize_image(source.read_whole(), self._size)
        return resize_image(pad_to_tile(source.read(*_region(picture, self._tile)), self._tile, None), self._size)

    def labels(self, picture: Picture) -> UInt8[np.ndarray, "y x"]:
        """Class indices; "not labelled" where there is no mask and beyond the image's border."""
        if picture.sample.mask is None:
            return np.full(self._size, IGNORE, np.uint8)
        source = self._open_mask(picture.sample.mask)
        if self._tile is None:
            return resize_labels(self._classes.labels(source.read_whole()), self._size)
        part = self._classes.labels(source.read(*_region(picture, self._tile)))
        return resize_labels(pad_to_tile(part, self._tile, IGNORE), self._size)


def _region(picture: Picture, tile: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of the tile that lies in the image."""
    (top, left), (height, width) = picture.offset or (0, 0), picture.sample.size
    return top, left, min(tile, height - top), min(tile, width - left)


@dataclass(frozen=True)
class Batch:
    """Pictures that go through the UNet together."""

    images: UInt8[np.ndarray, "image y x 3"]
    ids: tuple[str, ...]
    texts: tuple[str, ...]


def read_batch(reader: PictureReader, pictures: Sequence[Picture]) -> Batch:
    """Read the pictures' files."""
    return Batch(
        images=np.stack([reader.image(picture) for picture in pictures]),
        ids=tuple(picture.id for picture in pictures),
        texts=tuple(picture.sample.text for picture in pictures),
    )


def sample_table(dataset: Dataset, pictures: Sequence[Picture], rows: Sequence[int]) -> SampleTable:
    """The cache's table: what is in each row."""
    texts = distinct_texts(dataset)
    place = {text: index for index, text in enumerate(texts)}
    root = dataset.root.resolve()
    samples = (
        _sample_row(picture, row, place.get(picture.sample.text), root)
        for picture, row in zip(pictures, rows, strict=True)
    )
    return SampleTable(str(root), texts, tuple(samples))


def distinct_texts(dataset: Dataset) -> tuple[str, ...]:
    """Each text once, in an order that does not depend on the samples' order."""
    return tuple(sorted({sample.text for sample in dataset.samples if sample.text}))


def _sample_row(picture: Picture, row: int, text: int | None, root: Path) -> SampleRow:
    sample = picture.sample
    return SampleRow(
        id=picture.id,
        parent=sample.id,
        group=sample.group,
        split=sample.split,
        row=row,
        text=text,
        size=sample.size,
        image=_relative(sample.image, root),
        image_digest=sample.image_digest,
        mask=None if sample.mask is None else _relative(sample.mask, root),
        mask_digest=sample.mask_digest,
        tile=picture.offset or (0, 0),
    )


def _relative(path: Path, root: Path) -> str:
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
