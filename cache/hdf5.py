"""A cache in one HDF5 file, to be handed on: a dataset for each array, a chunk for each row, and the other files.

Nothing else reads such a file: it is written from a cache, and unpacked to the same files again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from ..errors import CacheCorruptError, CacheError
from .format.layout import ArrayLayout
from .format.manifest import COPY, MANIFEST, Manifest, whole_manifest
from .format.samples import TABLE
from .format.shard import split_rows, write_shard
from .storage.atomic import write_durably
from .verify import Damage, ShardPlace

FILES = "files"
"""Group of the files that are no shards."""
SHARDS = "/c/"
"""In a shard's path, between its array and its number."""
ROW_ALIGNMENT = 64
"""Bytes."""
WRITERS = 4
"""Shards that are unpacked at once."""
REPAIR = "restore the file from a backup, or export it again from the cache that it was made from"


class HdfWriter:
    """Writes a cache's files to an HDF5 file; use it as a context manager.

    Args:
        file: the new file.
        arrays: of the cache, each with its number of rows.
    """

    def __init__(self, file: Path, arrays: Iterable[tuple[ArrayLayout, int]]) -> None:
        self._file, self._arrays = file, {layout.name: (layout, n_rows) for layout, n_rows in arrays}

    def __enter__(self) -> Self:
        import h5py

        # Fixed arrays index the chunks, which older readers than HDF5 1.10 (2016) do not know.
        self._content = h5py.File(
            self._file,
            "w",
            libver=("v110", "v110"),
            alignment_threshold=ROW_ALIGNMENT,
            alignment_interval=ROW_ALIGNMENT,
        )
        for layout, n_rows in self._arrays.values():
            shape, chunks = (n_rows, *layout.row_shape), (1, *layout.row_shape)
            dataset = self._content.create_dataset(layout.name, shape, layout.dtype, chunks=chunks)
            for axis, name in enumerate(layout.axes):
                dataset.dims[axis].label = name
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def add(self, path: str, content: bytes) -> None:
        """Add a file of the cache; a shard must be whole."""
        array, is_shard, index = path.partition(SHARDS)
        if not is_shard:
            self._content[f"{FILES}/{path}"] = np.frombuffer(content, np.uint8)
            return
        layout, _ = self._arrays[array]
        first = int(index.partition("/")[0]) * layout.rows_per_shard
        for position, row in split_rows(content, layout.rows_per_shard).items():
            self._content[array].id.write_direct_chunk((first + position, *(0 for _ in layout.row_shape)), row)


class HdfReader:
    """Unpacks the cache in an HDF5 file; use it as a context manager.

    Args:
        file: the HDF5 file.

    Raises:
        CacheCorruptError: while the block runs, if it is not a whole HDF5 file of a cache.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> Self:
        import h5py

        with self._naming():
            self._content = h5py.File(self._file, "r")
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def unpack_tables(self, folder: Path) -> Manifest:
        """Write the files that are no shards to `folder`, and compare them with the manifest.

        Raises:
            CacheCorruptError: if they are not those that were exported.
        """
        self._unpack_files(folder, (MANIFEST, COPY))
        try:
            manifest = whole_manifest(folder)
        except CacheError as error:
            reason = str(error).replace(f"{folder}/", "").partition(";")[0]
            raise CacheCorruptError(f"{self._file}: holds no whole cache ({reason}); {REPAIR}") from error
        self._unpack_files(folder, (*manifest.metadata, TABLE))
        return manifest

    def unpack_shards(self, folder: Path, places: Sequence[ShardPlace]) -> Iterator[tuple[ShardPlace, Damage | None]]:
        """Write shards to `folder`, in order; gives each with what is wrong with it, if it is not the manifest's."""
        names = {place.record.path.partition(SHARDS)[0] for place in places}
        rows = {name: self._rows_of(name) for name in names}
        with ThreadPoolExecutor(WRITERS) as pool:  # HDF5 reads one row at a time; shards are written beside that
            yield from zip(places, pool.map(partial(self._unpack_shard, folder, rows), places), strict=True)

    def _unpack_files(self, folder: Path, names: Iterable[str]) -> None:
        with self._naming():
            for name in names:
                if f"{FILES}/{name}" in self._content:
                    write_durably(folder / name, [self._content[f"{FILES}/{name}"][()].tobytes()])

    def _rows_of(self, array: str) -> frozenset[int]:
        """The rows of an array that it holds: those that have a chunk."""
        rows: set[int] = set()
        with self._naming():
            self._content[array].id.chunk_iter(lambda chunk: rows.add(chunk.chunk_offset[0]))
        return frozenset(rows)

    def _unpack_shard(self, folder: Path, rows: Mapping[str, Container[int]], place: ShardPlace) -> Damage | None:
        path, size = place.record.path, place.rows_per_shard
        array, _, index = path.partition(SHARDS)
        first = int(index.partition("/")[0]) * size
        with self._naming():
            data = {row - first: self._content[array][row] for row in range(first, first + size) if row in rows[array]}
        if write_shard(folder, path, data, size) == place.record:
            return None
        return Damage(path, "not the bytes that the manifest recorded", place)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
            if isinstance(error, CacheError) or (isinstance(error, OSError) and error.errno):
                raise  # of the disk; HDF5's errors have no number
            raise CacheCorruptError(f"{self._file}: not a whole HDF5 file of a cache ({error}); {REPAIR}") from error
