"""A cache and its samples as objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex, get_args, overload

import numpy as np
import numpy.typing as npt

from ...cache.format.blocks import NO_NOISE, Block
from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...cache.storage.location import Location, location
from ...errors import CacheMismatchError, ConfigError
from ..config.evaluation import SplitName
from ..data.classes import Classes
from ..extraction.summary import ExtractSummary
from ..head_inputs.splits import originals
from ..maintenance.info import describe
from ..runtime.results import Result

if TYPE_CHECKING:
    from .pixel_matrix import PixelMatrix


@dataclass(frozen=True)
class CachedSample:
    """An image as the model saw it, or a tile of one, with its text, labels and features."""

    reader: FeatureReader
    row: SampleRow

    @property
    def id(self) -> str:
        """Unique in the cache; of a tile with its offset (`ID@Y,X`)."""
        return self.row.id

    @property
    def group(self) -> str:
        """The patient or whole image that it belongs to."""
        return self.row.group

    @property
    def split(self) -> str:
        """`train`, `val` or `test`."""
        return self.row.split

    @property
    def text(self) -> str | None:
        """Its text; `None`: it has none."""
        return None if self.row.text is None else self.reader.table.texts[self.row.text]

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """RGB, uint8 [y, x, 3], at the model's size."""
        return self.reader.image(self.row.row)

    @property
    def labels(self) -> npt.NDArray[np.uint8] | None:
        """Class indices, uint8 [y, x], 255 where not labelled; `None`: it has no mask."""
        return None if self.row.mask is None else self.reader.labels(self.row.row)

    def features(self, block: Block, timestep: int = NO_NOISE) -> npt.NDArray[Any]:
        """Activations, [y, x, channel], at the block's own size.

        Args:
            block: a block of the UNet by its number, or a layer of an encoder by its name.
            timestep: of the UNet; an encoder's layer has none.

        Raises:
            CacheMismatchError: if the cache lacks them.
            CacheCorruptError: if they are not what was written.
        """
        return self.reader.features(plain_block(block), index(timestep), self.row.row)

    def __repr__(self) -> str:
        return f"CachedSample({self.id!r}, split={self.split!r}, text={self.text!r})"


def plain_block(block: Block) -> Block:
    """The block with a number of Python for one of NumPy, or its name."""
    return block if isinstance(block, str) else index(block)


class Cache(Result):
    """A cache: `len(cache)`, `cache["sample"]`, `cache.split("train")`; functions take it wherever they take its path.

    Its samples are the images, or the tiles of images, as they are: flips and rotations are left out.

    Args:
        path: the folder or URL.
        extraction: what an extraction that has just ended did; `None`: the cache is described as it is.

    Raises:
        CacheError: when something is read of it that is not there.
    """

    def __init__(self, path: Location | os.PathLike[str] | str, extraction: ExtractSummary | None = None) -> None:
        self.path = location(path)
        self.extraction = extraction

    @cached_property
    def reader(self) -> FeatureReader:
        """The cache, open for reading by rows."""
        return FeatureReader(self.path)

    @cached_property
    def samples(self) -> tuple[CachedSample, ...]:
        """All samples, in the order of the data."""
        return tuple(CachedSample(self.reader, row) for row in originals(self.reader.samples))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Cached blocks of the UNet, ascending."""
        return self.reader.blocks

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Cached timesteps of the UNet, ascending."""
        return self.reader.timesteps

    @property
    def layers(self) -> tuple[str, ...]:
        """Cached layers of encoders."""
        return self.reader.layers

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the background first; labels are indices of them."""
        return Classes.from_dict(self.reader.manifest.classes).names

    def split(self, name: SplitName) -> list[CachedSample]:
        """The samples of one split: `train`, `val` or `test`.

        Raises:
            ConfigError: if it is called otherwise.
        """
        if name not in get_args(SplitName):
            raise ConfigError(f"split got {name!r}; expected one of {', '.join(get_args(SplitName))}")
        return [sample for sample in self.samples if sample.split == name]

    def pixels(
        self,
        split: SplitName = "train",
        *,
        n_per_image: int = 500,
        seed: int = 0,
        blocks: Sequence[int] | None = None,
        timesteps: Sequence[int] | None = None,
        sources: Sequence[str] | None = None,
        filters: bool | None = None,
    ) -> PixelMatrix:
        """Labelled pixels of a split as `X, y, groups`, for any classifier of scikit-learn.

        Args:
            split: whose samples are read.
            n_per_image: pixels of each, drawn evenly and with replacement from the labelled ones.
            seed: of the draw; a sample's pixels do not depend on the other samples.
            blocks: cached blocks of the UNet; `None`: all.
            timesteps: cached timesteps; `None`: all.
            sources: frozen models, as of `train_head`; `None`: all.
            filters: whether the filters are among the columns; `None`: where they are cached.

        Raises:
            ConfigError: if there is no such split, or `n_per_image` is below 1.
            CacheMismatchError: if the cache lacks what is asked for.
            DataError: if no sample of the split is labelled.
        """
        samples = self.split(split)
        if not isinstance(n_per_image, SupportsIndex) or n_per_image < 1:
            raise ConfigError(f"n_per_image got {n_per_image!r}; expected a whole number of at least 1")
        # They import torch, which a look at a cache need not wait for.
        from ..head_inputs.inputs import open_head_data
        from .pixel_matrix import read_pixels

        numbers = {"blocks": blocks, "timesteps": timesteps}
        seen: dict[str, Any] = {name: None if of is None else [*map(index, of)] for name, of in numbers.items()}
        seen |= {"sources": sources, "filters": filters}
        data = open_head_data(self.reader, text="true", seed=seed, device="cpu", **seen)
        return read_pixels(data, [sample.row for sample in samples], n_per_image, seed)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[CachedSample]:
        return iter(self.samples)

    def __contains__(self, sample: object) -> bool:
        """Whether it has the sample, or one of this id."""
        if isinstance(sample, CachedSample):
            return self._by_id.get(sample.id) == sample
        return isinstance(sample, str) and sample in self._by_id

    @overload
    def __getitem__(self, sample: str | SupportsIndex) -> CachedSample: ...

    @overload
    def __getitem__(self, sample: slice) -> list[CachedSample]: ...

    def __getitem__(self, sample: str | SupportsIndex | slice) -> CachedSample | list[CachedSample]:
        """A sample by its id or number, or several by a slice of the numbers.

        Raises:
            CacheMismatchError: if there is none.
        """
        if isinstance(sample, slice):
            return [*self.samples[sample]]
        if isinstance(sample, SupportsIndex) and -len(self) <= index(sample) < len(self):
            return self.samples[index(sample)]
        if isinstance(sample, str) and sample in self._by_id:
            return self._by_id[sample]
        some = ", ".join(one.id for one in self.samples[:3])
        raise CacheMismatchError(f"{self.path}: has no sample {sample!r}; it has {len(self)}: {some}, ...")

    @cached_property
    def _by_id(self) -> dict[str, CachedSample]:
        return {sample.id: sample for sample in self.samples}

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Cache({str(self.path)!r})"

    def to_dict(self) -> dict[str, Any]:
        """Summary of the extraction, or of the cache's content."""
        return self._described().to_dict()

    def lines(self) -> list[str]:
        """Summary of the extraction, or of the cache's content."""
        return self._described().lines()

    def to_rows(self) -> list[dict[str, Any]]:
        """A row for each sample: what it is and whether it is labelled; none before the cache is whole."""
        if self.extraction and (self.extraction.dry_run or not self.extraction.whole):
            return []
        return [
            {
                "id": one.id,
                "group": one.group,
                "split": one.split,
                "stratum": one.row.stratum,
                "labelled": one.row.mask is not None,
                "text": one.text,
                "height": one.row.size[0],
                "width": one.row.size[1],
            }
            for one in self.samples
        ]

    def _described(self) -> Result:
        return self.extraction or describe(self.reader)


def open_cache(path: Location | os.PathLike[str] | str) -> Cache:
    """Open a cache that is there.

    Args:
        path: the folder or URL, or the cache itself.

    Raises:
        CacheNotFoundError: if there is none.
        CacheIncompleteError: if its extraction did not finish.
        CacheCorruptError: if its tables cannot be read.
    """
    cache = Cache(path)
    _ = cache.reader  # opened now, so that what is wrong with it shows here
    return cache
