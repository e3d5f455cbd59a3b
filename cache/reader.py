"""Reads a cache: opens only the shards that are asked for; single rows are views of mapped files, many come in bulk.

The cache may lie in an object store: then a shard is downloaded, whole, when it is first asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import accumulate, product
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CacheMismatchError
from .format.blocks import NO_NOISE, Block, Pair, encoder_of, in_order
from .format.layout import ArrayLayout, filters_layout, images_layout, labels_layout, texts_layouts
from .format.manifest import Manifest, whole_manifest
from .format.maps import StoredMaps
from .format.projections import Projections, read_projections
from .format.samples import SampleRow, SampleTable, read_samples
from .format.shard import ShardFile, read_rows
from .storage.location import Location, location, on_disk, with_local_copies

MAX_OPEN_SHARDS = 256
"""Half of it for int8, whose scales have shards of their own; processes may have 1,024 files open as a rule."""

WORKERS, REMOTE_WORKERS = 4, 16
"""Shards that are read at once, from a disk and from an object store."""

ALIGNMENT = 64
"""Bytes; of the arrays that are read in bulk."""


class FeatureReader:
    """A whole cache, open for reading.

    It may be used by several threads, in processes forked from this one, and in others that it is sent to (it is sent
    as the cache's path, so that these open what they need themselves).

    Args:
        root: the cache: a folder, or its URL in an object store.

    Raises:
        CacheNotFoundError: if there is no cache.
        CacheIncompleteError: if its extraction did not finish.
        CacheCorruptError: if its tables cannot be read, or are not those that were written.
    """

    def __init__(self, root: Location | os.PathLike[str] | str) -> None:
        self.root = location(root)
        self._files = with_local_copies(self.root)
        self.manifest: Manifest = whole_manifest(self.root)
        self.table: SampleTable = read_samples(self.root, self.manifest.digests["samples"])
        rows = {sample.row for sample in self.table.samples}
        self.pairs = frozenset(pair for pair, covered in self.manifest.coverage().items() if rows <= covered)
        # Each open shard holds a file descriptor; a shard that is dropped stays mapped while rows of it are in use.
        # The function must not know the reader: in a circle with it, shards would outlive it.
        self._shard = lru_cache(maxsize=MAX_OPEN_SHARDS)(partial(_open_shard, self._files, {}))

    def __reduce__(self) -> tuple[type[FeatureReader], tuple[Location]]:
        return FeatureReader, (self.root,)

    @property
    def samples(self) -> tuple[SampleRow, ...]:
        """All samples."""
        return self.table.samples

    @property
    def blocks(self) -> tuple[int, ...]:
        """The cached blocks of the UNet, ascending."""
        return tuple(sorted({block for block, _ in self.pairs if isinstance(block, int)}))

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The cached timesteps of the UNet, ascending."""
        return tuple(sorted({timestep for block, timestep in self.pairs if isinstance(block, int)}))

    @property
    def layers(self) -> tuple[str, ...]:
        """The cached layers of encoders, by encoder and number."""
        return tuple(name for name in in_order(block for block, _ in self.pairs) if isinstance(name, str))

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders that layers are cached of."""
        return tuple(dict.fromkeys(name for layer in self.layers if (name := encoder_of(layer))))

    def require(self, blocks: Sequence[int], timesteps: Sequence[int], layers: Sequence[str] = ()) -> None:
        """Refuse what the cache does not hold for every sample.

        Raises:
            CacheMismatchError: with what is missing, what is there, and the flags that would add it.
        """
        missing = [(b, t) for b in blocks for t in timesteps if (b, t) not in self.pairs]
        if missing:
            lacking_blocks = sorted({b for b, _ in missing})
            lacking_timesteps = sorted({t for _, t in missing})
            raise CacheMismatchError(
                f"{self.root}: lacks blocks {_list(lacking_blocks)} at timesteps {_list(lacking_timesteps)}; "
                f"it has blocks {_list(self.blocks)} at timesteps {_list(self.timesteps)}. "
                "Add them: repeat the `textdiff extract-features` command that made this cache, with "
                f"--blocks {_list(lacking_blocks)} --timesteps {_list(lacking_timesteps)}"
            )
        if absent := [layer for layer in layers if (layer, NO_NOISE) not in self.pairs]:
            raise CacheMismatchError(
                f"{self.root}: lacks the layers {', '.join(absent)}; it has {', '.join(self.layers) or 'none'}. "
                "Add them: repeat the `textdiff extract-features` command that made this cache, with --encoder and "
                "--encoder-layers"
            )

    def features(self, block: Block, timestep: int, row: int) -> npt.NDArray[Any]:
        """Activations of one row, [y, x, channel], checked on first use.

        Float caches give a view of the file in its dtype; int8 ones give a new float32 array.
        """
        return self.stored(block, timestep, row).activations

    def stored(self, block: Block, timestep: int, row: int) -> StoredMaps:
        """One row as it is stored: views of the files [y, x, channel] and, for int8, [channel]."""
        if (block, timestep) not in self.pairs:
            if isinstance(block, int):
                self.require([block], [timestep])
            else:
                self.require([], [], [block])
        return StoredMaps(*(self._row(layout, row) for layout in self.manifest.features_layouts(block, timestep)))

    def fetch(self, pairs: Iterable[Pair], row: int, *, filters: bool = False) -> None:
        """Download the shards of a row side by side, where the cache lies in an object store."""
        if on_disk(self.root):
            return
        layouts = [layout for pair in pairs for layout in self.manifest.features_layouts(*pair)]
        layouts += [filters_layout(self.manifest.features)] * filters
        with ThreadPoolExecutor(REMOTE_WORKERS) as pool:
            list(pool.map(lambda layout: self._row(layout, row), layouts))

    def read(
        self,
        blocks: Sequence[int],
        timesteps: Sequence[int],
        rows: Sequence[int],
        *,
        layers: Sequence[str] = (),
        workers: int | None = None,
    ) -> dict[Pair, StoredMaps]:
        """Many rows at once, every one of them checked, in one piece of memory: it goes when the last array goes.

        Args:
            blocks: cached blocks.
            timesteps: cached timesteps.
            rows: distinct rows, in the order in which they are wanted.
            layers: cached layers of encoders.
            workers: threads; each reads one shard at a time. `None`: few where a disk is read, many where a network is.

        Returns:
            (block, timestep) → values [row, y, x, channel] and, for int8, scales [row, channel].

        Raises:
            CacheMismatchError: if the cache lacks a block, timestep or layer.
            ValueError: if a row is named twice, or is not a row of the cache.
            CacheCorruptError: if a row is not what was written.
        """
        self.require(blocks, timesteps, layers)
        self._check_rows(rows)
        pairs: list[Pair] = [*product(blocks, timesteps), *((layer, NO_NOISE) for layer in layers)]
        layouts = {pair: self.manifest.features_layouts(*pair) for pair in pairs}
        every = [layout for each in layouts.values() for layout in each]
        arrays = dict(zip(every, _allocate(every, len(rows)), strict=True))
        tasks = [task for layout, array in arrays.items() for task in self._by_shard(layout, array, rows)]
        with ThreadPoolExecutor(workers or (WORKERS if on_disk(self.root) else REMOTE_WORKERS)) as pool:
            list(pool.map(lambda task: read_rows(*task), tasks))
        return {pair: StoredMaps(*(arrays[layout] for layout in each)) for pair, each in layouts.items()}

    def projections(self, pairs: Collection[Pair]) -> Projections:
        """Projections of the activations of these pairs; none for a pair with the model's own channels."""
        records = (record for record in self.manifest.projections if record.pair in pairs)
        return read_projections(self._files, records)

    def labels(self, row: int) -> npt.NDArray[np.uint8]:
        """Class indices of one row, uint8 [y, x]; the table's `ignore` where not labelled."""
        return self._row(labels_layout(self.manifest.features), row)

    def image(self, row: int) -> npt.NDArray[np.uint8]:
        """The image as the model saw it, uint8 [y, x, 3], RGB."""
        return self._row(images_layout(self.manifest.features), row)

    def filters(self, row: int) -> npt.NDArray[np.float16]:
        """Filters of what the model saw, float16 [y, x, filter].

        Raises:
            CacheMismatchError: if the cache has none.
        """
        self.require_filters()
        return self._row(filters_layout(self.manifest.features), row)

    def require_filters(self) -> None:
        """Refuse a cache without filters.

        Raises:
            CacheMismatchError: if it has none.
        """
        if not self.manifest.has_filters:
            raise CacheMismatchError(
                f"{self.root}: has no filters of the images. Add them, without running the UNet: repeat the `textdiff "
                "extract-features` command that made this cache, without --no-filters"
            )

    def texts(self) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
        """Tokens [text, token, dim] and their mask [text, token] of all distinct texts; none: 0 texts of 0 tokens."""
        spec = self.manifest.texts
        if spec is None:
            return np.zeros((0, 0, 0), np.float16), np.zeros((0, 0), np.bool_)
        tokens, mask = texts_layouts(spec.n_tokens, spec.dim)
        rows = range(len(self.table.texts))
        return np.stack([self._row(tokens, row) for row in rows]), np.stack([self._row(mask, row) for row in rows])

    def split(self, name: str) -> tuple[SampleRow, ...]:
        """The samples of one split, in the table's order."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def _check_rows(self, rows: Sequence[int]) -> None:
        n_rows = len(self.manifest.rows)
        wrong = sorted({row for row in rows if not 0 <= row < n_rows or rows.count(row) > 1})
        if wrong:
            raise ValueError(f"{self.root}: rows {wrong} are named twice or are none of 0 to {n_rows - 1}")

    def _row(self, layout: ArrayLayout, row: int) -> npt.NDArray[Any]:
        group, position = layout.locate(row)
        return self._shard(layout, group).row(position)

    def _by_shard(
        self, layout: ArrayLayout, array: npt.NDArray[Any], rows: Sequence[int]
    ) -> Iterator[tuple[Location, Mapping[int, npt.NDArray[Any]], int]]:
        """Arguments of `read_rows` for each shard that holds some of the rows."""
        groups: dict[int, dict[int, npt.NDArray[Any]]] = {}
        for row, out in zip(rows, array, strict=True):
            group, position = layout.locate(row)
            groups.setdefault(group, {})[position] = out
        for group, outs in groups.items():
            yield self._files / layout.shard_path(group), outs, layout.rows_per_shard


def _open_shard(root: Location, checked: dict[str, bytearray], layout: ArrayLayout, group: int) -> ShardFile:
    """Map a shard; what was found right in it before is not checked again."""
    path = layout.shard_path(group)
    known = checked.setdefault(path, bytearray(layout.rows_per_shard))
    return ShardFile(root / path, layout.row_shape, layout.dtype, layout.rows_per_shard, known)


def _allocate(layouts: Sequence[ArrayLayout], n_rows: int) -> Iterator[npt.NDArray[Any]]:
    """Arrays in one piece of memory, which the kernel can give in huge pages: 1/100 of the faults (measured)."""
    shapes = [(n_rows, *layout.row_shape) for layout in layouts]
    sizes = [math.prod(shape) * layout.dtype.itemsize for layout, shape in zip(layouts, shapes, strict=True)]
    starts = list(accumulate((-(-size // ALIGNMENT) * ALIGNMENT for size in sizes), initial=0))
    memory = np.empty(starts[-1], np.uint8)
    for layout, shape, size, start in zip(layouts, shapes, sizes, starts, strict=False):
        yield memory[start : start + size].view(layout.dtype).reshape(shape)


def _list(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
