"""The ways of `cache_io.py` to write activations and to read them: NumPy, the cache, and Zarr libraries."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec

from textdiff.components import FeatureReader, write_features

BLOCKS, TIMESTEPS, ROWS_PER_SHARD = (6, 8, 12, 16), (50, 150, 250), 8
PAIRS = [(block, timestep) for block in BLOCKS for timestep in TIMESTEPS]

Pair = tuple[int, int]
Array = npt.NDArray[Any]
Unit = dict[Pair, Array]
"""(block, timestep) → activations [row, y, x, channel] of one shard."""
Gather = Callable[[Pair, int, Array], Array]
"""(array, row, pixels of the flattened map) → activations [pixel, channel]."""


class Way(Protocol):
    """One way to write shards to a folder and to read them back."""

    def write(self, unit: Unit, n_units: int) -> None:
        """Write `unit` again and again, each time to shards of its own, all of them on the disk at the end."""

    def open(self) -> None:
        """Open what was written."""

    def read(self) -> int:
        """Read all of it into memory; the number of bytes."""

    def gathers(self) -> list[Gather]:
        """How pixels of one row can be had."""


class Numpy:
    """`tofile`, `fromfile` and `memmap`."""

    def __init__(self, folder: Path, n_threads: int) -> None:
        self._folder, self._threads = folder, ThreadPoolExecutor(n_threads)

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        self._shape, self._dtype = unit[PAIRS[0]].shape, unit[PAIRS[0]].dtype
        self._paths = [(self._path(index, pair), pair) for index in range(n_units) for pair in PAIRS]
        for index in range(n_units):
            self._each(lambda pair, index=index: unit[pair].tofile(self._path(index, pair)))
            # All at once: one by one, each would wait for the disk alone.
            self._each(lambda pair, index=index: sync(self._path(index, pair)))

    def open(self) -> None:
        """As `Way`."""
        self._maps = {path: np.memmap(path, self._dtype, "r", shape=self._shape) for path, _ in self._paths}

    def read(self) -> int:
        """As `Way`."""
        n_bytes = 0
        for index in range(len(self._paths) // len(PAIRS)):
            n_bytes += _size(self._each(lambda pair, index=index: np.fromfile(self._path(index, pair), self._dtype)))
        return n_bytes

    def gathers(self) -> list[Gather]:
        """As `Way`."""
        return [self._gather]

    def _gather(self, pair: Pair, row: int, pixels: Array) -> Array:
        mapped = self._maps[self._path(row // ROWS_PER_SHARD, pair)][row % ROWS_PER_SHARD]
        return np.take(mapped.reshape(-1, mapped.shape[-1]), pixels, axis=0)

    def _each(self, work: Callable[[Pair], Any]) -> list[Any]:
        return list(self._threads.map(work, PAIRS))

    def _path(self, index: int, pair: Pair) -> Path:
        return self._folder / f"{index}-{pair[0]}-{pair[1]}"


class Textdiff:
    """The cache."""

    def __init__(self, folder: Path, n_threads: int) -> None:
        self._folder, self._n_threads = folder / "cache", n_threads

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        batches = (unit for _ in range(n_units))
        write_features(self._folder, batches, n_units * ROWS_PER_SHARD, workers=self._n_threads)

    def open(self) -> None:
        """As `Way`."""
        self._reader = FeatureReader(self._folder)

    def read(self) -> int:
        """As `Way`."""
        n_bytes = 0
        for start in range(0, len(self._reader.samples), ROWS_PER_SHARD):
            rows = range(start, start + ROWS_PER_SHARD)
            maps = self._reader.read(BLOCKS, TIMESTEPS, rows, workers=self._n_threads)
            n_bytes += _size(stored.values for stored in maps.values())
        return n_bytes

    def gathers(self) -> list[Gather]:
        """As `Way`."""
        return [self._gather]

    def _gather(self, pair: Pair, row: int, pixels: Array) -> Array:
        mapped = self._reader.features(*pair, row)
        return np.take(mapped.reshape(-1, mapped.shape[-1]), pixels, axis=0)


class Zarr:
    """zarr-python with its default pipeline."""

    pipeline = "zarr.core.codec_pipeline.BatchedCodecPipeline"

    def __init__(self, folder: Path, n_threads: int) -> None:
        self._folder, self._threads = folder, ThreadPoolExecutor(n_threads)
        zarr.config.set({"codec_pipeline.path": self.pipeline, "threading.max_workers": n_threads})

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        self._n_units = n_units
        arrays = {pair: create_array(self._folder, pair, unit[pair], n_units) for pair in PAIRS}

        def write_shard(pair: Pair, index: int) -> None:
            arrays[pair][_rows(index)] = unit[pair]
            sync(self._folder / name_of(pair) / "c" / f"{index}/0/0/0")

        for index in range(n_units):
            list(self._threads.map(partial(write_shard, index=index), PAIRS))

    def open(self) -> None:
        """As `Way`."""
        zarr.config.set({"codec_pipeline.path": self.pipeline})
        self._arrays = {pair: zarr.open_array(self._folder / name_of(pair), mode="r") for pair in PAIRS}

    def read(self) -> int:
        """As `Way`."""
        n_bytes = 0
        for index in range(self._n_units):
            n_bytes += _size(list(self._threads.map(lambda pair, index=index: self._arrays[pair][_rows(index)], PAIRS)))
        return n_bytes

    def gathers(self) -> list[Gather]:
        """As `Way`."""
        return [self._whole_row, self._vectorised]

    def _whole_row(self, pair: Pair, row: int, pixels: Array) -> Array:
        values = np.asarray(self._arrays[pair][row])
        return values.reshape(-1, values.shape[-1])[pixels]

    def _vectorised(self, pair: Pair, row: int, pixels: Array) -> Array:
        array = self._arrays[pair]
        _, _, width, n_channels = array.shape
        y, x = np.divmod(pixels, width)
        return np.asarray(array.vindex[row, y[:, None], x[:, None], np.arange(n_channels)])


class Zarrs(Zarr):
    """zarr-python with the pipeline of `zarrs`."""

    pipeline = "zarrs.ZarrsCodecPipeline"


class Tensorstore:
    """tensorstore on arrays with zarr-python's metadata."""

    def __init__(self, folder: Path, n_threads: int) -> None:
        self._folder, limit = folder, {"limit": n_threads}
        self._context = {"data_copy_concurrency": limit, "file_io_concurrency": limit, "cache_pool": {}}

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        self._n_units = n_units
        for pair in PAIRS:
            create_array(self._folder, pair, unit[pair], n_units)
        self.open()
        for index in range(n_units):
            self._all(lambda pair, index=index: self._arrays[pair][_rows(index)].write(unit[pair]))

    def open(self) -> None:
        """As `Way`."""
        import tensorstore

        context = tensorstore.Context(self._context)
        self._arrays = {pair: self._open(pair, context) for pair in PAIRS}

    def _open(self, pair: Pair, context: Any) -> Any:  # noqa: ANN401
        import tensorstore

        store = {"driver": "file", "path": f"{self._folder / name_of(pair)}/"}
        spec = {"driver": "zarr3", "kvstore": store, "store_data_equal_to_fill_value": True}
        return tensorstore.open(spec, context=context).result()

    def read(self) -> int:
        """As `Way`."""
        n_bytes = 0
        for index in range(self._n_units):
            n_bytes += _size(self._all(lambda pair, index=index: self._arrays[pair][_rows(index)].read()))
        return n_bytes

    def gathers(self) -> list[Gather]:
        """As `Way`."""
        return [self._whole_row, self._vectorised]

    def _whole_row(self, pair: Pair, row: int, pixels: Array) -> Array:
        values = self._arrays[pair][row].read().result()
        return values.reshape(-1, values.shape[-1])[pixels]

    def _vectorised(self, pair: Pair, row: int, pixels: Array) -> Array:
        array = self._arrays[pair]
        y, x = np.divmod(pixels, array.shape[2])
        return array[row].vindex[y, x].read().result()

    def _all(self, begin: Callable[[Pair], Any]) -> list[Any]:
        return [future.result() for future in [begin(pair) for pair in PAIRS]]


def ways_of(n_threads: int) -> dict[str, Callable[[Path], Way]]:
    """Name → what makes the way in a folder; packages that are not installed are named and left out."""
    threaded = {f"numpy x{n_threads}": Numpy, "textdiff": Textdiff, "zarr": Zarr}
    optional = {"zarrs": Zarrs, "tensorstore": Tensorstore}
    for name, way in optional.items():
        if importlib.util.find_spec(name):
            threaded[name] = way
        else:
            print(f"{name} is not installed and left out: pip install '.[bench]'", file=sys.stderr)
    ways: dict[str, Callable[[Path], Way]] = {"numpy": partial(Numpy, n_threads=1)}
    return ways | {name: partial(way, n_threads=n_threads) for name, way in threaded.items()}


def create_array(folder: Path, pair: Pair, values: Array, n_units: int) -> zarr.Array[Any]:
    """A Zarr array laid out as the cache's are: a chunk a row, a shard a unit, each chunk with its CRC32C."""
    return zarr.create_array(
        folder / name_of(pair),
        shape=(n_units * ROWS_PER_SHARD, *values.shape[1:]),
        chunks=(1, *values.shape[1:]),
        shards=values.shape,
        dtype=values.dtype,
        filters=None,
        compressors=[Crc32cCodec()],
        config={"write_empty_chunks": True},
    )


def name_of(pair: Pair) -> str:
    """The array's folder."""
    return f"{pair[0]}-{pair[1]}"


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _size(arrays: Iterable[Array]) -> int:
    """Bytes in memory."""
    return sum(array.nbytes for array in arrays)


def _rows(index: int) -> slice:
    return slice(index * ROWS_PER_SHARD, (index + 1) * ROWS_PER_SHARD)
