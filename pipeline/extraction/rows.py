"""What the rows of a cache show: images or tiles of them, as they are or in another view, with labels and texts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...cache.format.manifest import RowKey
from ...cache.format.samples import IGNORE, SampleRow, SampleTable, is_hashed
from ...errors import DataError
from ..config.extraction import ExtractConfig
from ..data.classes import Classes
from ..data.dataset import Dataset, Sample
from ..images.reading import open_mask
from ..images.resizing import resize_image, resize_labels
from ..images.source import ImageReader
from ..images.tiling import pad_to_tile, tile_offsets
from ..views.symmetries import View
from ..views.text_rewriting import rewrite_sides, unsafe_words
from ..views.transforms import turn

OPEN_FILES = 4


@dataclass(frozen=True)
class Picture:
    """One row: a view of a sample's whole image, or of a tile of it."""

    sample: Sample
    offset: tuple[int, int] | None
    """(y, x) of the tile in the native image; `None`: the whole image."""
    view: View
    text: str
    """The sample's, rewritten for the view; "" where there is none."""

    @property
    def id(self) -> str:
        """The sample's id; of a tile, with its offset; of another view than 0, with its number."""
        return row_id(self.sample.id, self.offset, self.view)

    def key(self, *, told_its_text: bool) -> RowKey:
        """What the row's activations are made from."""
        text = hashlib.sha256(self.text.encode()).hexdigest() if told_its_text else None
        return RowKey(self.id, self.sample.image_digest, text)


def row_id(sample_id: str, offset: tuple[int, int] | None, view: View) -> str:
    """The id of a row, which names its noise where that is per sample."""
    place = "" if offset is None else f"@{offset[0]},{offset[1]}"
    return f"{sample_id}{place}~{view}" if view else f"{sample_id}{place}"


def pictures_of(samples: Sequence[Sample], config: ExtractConfig) -> tuple[Picture, ...]:
    """The rows that the samples make: first all as they are, then each view of all; tiles row by row.

    A view for which the sample's text cannot be rewritten is left out.

    Raises:
        DataError: if a sample has the id that a view of another has.
    """
    pictures = tuple(_pictures(samples, config))
    twice = [name for name, n in Counter(picture.id for picture in pictures).items() if n > 1]
    if twice:
        raise DataError("these are ids of samples and of other samples' views (ID~VIEW); rename the samples:", twice)
    return pictures


def _pictures(samples: Sequence[Sample], config: ExtractConfig) -> Iterator[Picture]:
    for view in range(config.views):
        for sample in samples:
            text = rewrite_sides(sample.text, view)
            if text is None or view not in _views_of(sample, config):
                continue
            for offset in _offsets(sample, config):
                yield Picture(sample, offset, view, text)


def _offsets(sample: Sample, config: ExtractConfig) -> Sequence[tuple[int, int] | None]:
    return (None,) if config.tile is None else tile_offsets(sample.size, config.tile, config.tile_overlap)


def _views_of(sample: Sample, config: ExtractConfig) -> range:
    return range(config.views if config.views_of == "all" or sample.split == "train" else 1)


def views_left_out(samples: Sequence[Sample], config: ExtractConfig) -> list[str]:
    """One line for each text that cannot be rewritten for all of its samples' views: the views, and why."""
    lines, needed = [], dict[str, range]()
    for sample in samples:
        needed[sample.text] = max(needed.get(sample.text, range(1)), _views_of(sample, config), key=len)
    for text, views in needed.items():
        unsafe = {view: unsafe_words(text, view) for view in views if rewrite_sides(text, view) is None}
        if unsafe:
            words = ", ".join(dict.fromkeys(repr(word) for found in unsafe.values() for word in found))
            lines.append(f"views {','.join(map(str, unsafe))} of {text!r} ({words})")
    return lines


class PictureReader:
    """Reads pictures from the files, at the model's size; safe to use from several threads.

    Args:
        image_size: side of the model's input in pixels.
        tile: side of the tiles in native pixels; `None`: whole images.
        open_source: opens an image file.
        classes: what the masks' values mean.
    """

    def __init__(
        self, image_size: int, tile: int | None, open_source: Callable[[Path], ImageReader], classes: Classes
    ) -> None:
        self._size, self._tile, self._classes = (image_size, image_size), tile, classes
        # The tiles of an image follow one another: a file that must be decoded whole is decoded for all of them.
        n_open = 0 if tile is None else OPEN_FILES
        self._open_image = lru_cache(n_open)(open_source)
        self._open_mask = lru_cache(n_open)(open_mask)

    def image(self, picture: Picture) -> UInt8[np.ndarray, "y x 3"]:
        """RGB; a tile at the image's border is completed by reflection."""
        source = self._open_image(picture.sample.image)
        if self._tile is None:
            return turn(resize_image(source.read(0, 0, *source.size), self._size), picture.view)
        part = pad_to_tile(source.read(*_region(picture, self._tile)), self._tile, None)
        return turn(resize_image(part, self._size), picture.view)

    def labels(self, picture: Picture) -> UInt8[np.ndarray, "y x"]:
        """Class indices; "not labelled" where there is no mask and beyond the image's border."""
        if picture.sample.mask is None:
            return np.full(self._size, IGNORE, np.uint8)
        source = self._open_mask(picture.sample.mask)
        if self._tile is None:
            return turn(resize_labels(self._classes.labels(source.read_whole()), self._size), picture.view)
        part = self._classes.labels(source.read(*_region(picture, self._tile)))
        return turn(resize_labels(pad_to_tile(part, self._tile, IGNORE), self._size), picture.view)


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
        texts=tuple(picture.text for picture in pictures),
    )


def sample_table(dataset: Dataset, pictures: Sequence[Picture], rows: Sequence[int]) -> SampleTable:
    """The cache's table: what is in each row; where ids are hashed, it names no file and no folder."""
    texts = distinct_texts(pictures)
    place = {text: index for index, text in enumerate(texts)}
    root = None if any(is_hashed(sample.id) for sample in dataset.samples) else dataset.root.resolve()
    samples = (
        _sample_row(picture, row, place.get(picture.text), root) for picture, row in zip(pictures, rows, strict=True)
    )
    return SampleTable(str(root or ""), texts, tuple(samples))


def distinct_texts(pictures: Sequence[Picture]) -> tuple[str, ...]:
    """Each text once, in an order that does not depend on the samples' order."""
    return tuple(sorted({picture.text for picture in pictures if picture.text}))


def _sample_row(picture: Picture, row: int, text: int | None, root: Path | None) -> SampleRow:
    sample = picture.sample
    return SampleRow(
        id=picture.id,
        parent=sample.id,
        group=sample.group,
        split=sample.split,
        row=row,
        text=text,
        size=sample.size,
        image=sample.id if root is None else _relative(sample.image, root),
        image_digest=sample.image_digest,
        mask=None if sample.mask is None else sample.id if root is None else _relative(sample.mask, root),
        mask_digest=sample.mask_digest,
        view=picture.view,
        tile=picture.offset or (0, 0),
        stratum=sample.stratum,
        weight=sample.weight,
    )


def _relative(path: Path, root: Path) -> str:
    path = path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
