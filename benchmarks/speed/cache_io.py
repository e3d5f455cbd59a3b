"""Writing and reading of a cache beside NumPy and other Zarr libraries, with the same number of threads.

    python benchmarks/speed/cache_io.py [--mb 768] [--chunk-mb 1] [--side 32] [--threads 4] [--repeats 5]
        [--dtype float16] [--folder DIR] [--json]

Every way writes and reads the same activations: 4 blocks × 3 timesteps, a row of --chunk-mb one chunk, 8 rows one shard
(one file). All Zarr ways store a CRC32C for each chunk and check it. Arrays are opened once, outside the clock. The
ways take turns in each repetition, since a disk's speed drifts; ratios are to one-threaded NumPy in the same
repetition, and their median counts.

    numpy        `tofile`, then `fsync`; `fromfile`; gathers from `memmap`. One thread: the reference
    numpy xN     the same with --threads threads
    textdiff     `write_features` (activations checked for NaN, files written under temporary names, `fsync`, renamed,
                 recorded in a journal; the cache published); `FeatureReader.read`; `FeatureReader.features`
    zarr         zarr-python, arrays in --threads threads; files synced after they are written
    zarrs        zarr-python with the pipeline of the package `zarrs`, likewise
    tensorstore  its own threads, all arrays asked for at once; it syncs its files itself

    write   all of it, until it is on the disk
    cold    all of it into memory, after the kernel was asked to drop the files (the result says whether it did)
    warm    the same again
    gather  what training does: 512 random pixels of 32 rows of each array, warm, a row at a time; the second time, as
            in every epoch but the first. Of a Zarr library the faster of two ways counts: whole rows that are indexed
            in memory, or its own vectorised indexing

`zarrs` and `tensorstore` come with the extra `bench`; without them their lines are left out. Files go to a temporary
folder below --folder (TMPDIR by default), which needs --mb.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import mmap
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec

from textdiff import FeatureReader, write_features

BLOCKS, TIMESTEPS, ROWS_PER_SHARD = (6, 8, 12, 16), (50, 150, 250), 8
PAIRS = [(block, timestep) for block in BLOCKS for timestep in TIMESTEPS]
GATHERED_ROWS, GATHERED_PIXELS = 32, 512
STEPS = ("write", "cold", "warm", "gather")

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

    def read(self) -> None:
        """Read all of it into memory."""

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
            self._each(lambda pair, index=index: unit[pair].tofile(self._path(index, pair)), PAIRS)
            # All at once: one by one, each would wait for the disk alone.
            self._each(lambda pair, index=index: sync(self._path(index, pair)), PAIRS)

    def open(self) -> None:
        """As `Way`."""
        self._maps = {path: np.memmap(path, self._dtype, "r", shape=self._shape) for path, _ in self._paths}

    def read(self) -> None:
        """As `Way`."""
        for index in range(len(self._paths) // len(PAIRS)):
            self._each(lambda pair, index=index: np.fromfile(self._path(index, pair), self._dtype), PAIRS)

    def gathers(self) -> list[Gather]:
        """As `Way`."""
        return [self._gather]

    def _gather(self, pair: Pair, row: int, pixels: Array) -> Array:
        mapped = self._maps[self._path(row // ROWS_PER_SHARD, pair)][row % ROWS_PER_SHARD]
        return np.take(mapped.reshape(-1, mapped.shape[-1]), pixels, axis=0)

    def _each(self, work: Callable[[Pair], Any], pairs: Iterable[Pair]) -> None:
        list(self._threads.map(work, pairs))

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

    def read(self) -> None:
        """As `Way`."""
        for start in range(0, len(self._reader.samples), ROWS_PER_SHARD):
            rows = range(start, start + ROWS_PER_SHARD)
            self._reader.read(BLOCKS, TIMESTEPS, rows, workers=self._n_threads)

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

    def read(self) -> None:
        """As `Way`."""
        for index in range(self._n_units):
            list(self._threads.map(lambda pair, index=index: self._arrays[pair][_rows(index)], PAIRS))

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

    def read(self) -> None:
        """As `Way`."""
        for index in range(self._n_units):
            self._all(lambda pair, index=index: self._arrays[pair][_rows(index)].read())

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

    def _all(self, begin: Callable[[Pair], Any]) -> None:
        for future in [begin(pair) for pair in PAIRS]:
            future.result()


def main() -> None:
    """Measure and print the ratios."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result) if args.json else "\n".join(lines(result)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=768, help="size of what each way writes and reads")
    parser.add_argument("--chunk-mb", type=float, default=1, help="size of a row, which is one chunk")
    parser.add_argument("--side", type=int, default=32, help="height and width of a row's map")
    parser.add_argument("--threads", type=int, default=4, help="of every way but the reference")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--folder", type=Path, default=None, help="on which disk; TMPDIR's by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


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


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time every way, in turns."""
    unit = make_unit(args.chunk_mb, args.side, args.dtype)
    n_bytes = sum(array.nbytes for array in unit.values())
    n_units = max(1, round(args.mb * 2**20 / n_bytes))
    ways = ways_of(args.threads)
    seconds: dict[str, dict[str, list[float]]] = {step: {name: [] for name in ways} for step in STEPS}
    dropped = True
    for repetition in range(args.repeats):
        # The order changes, lest one way always find the disk as another left it.
        order = sorted(ways, key=lambda name: (list(ways).index(name) + repetition) % len(ways))
        for name in order:
            taken, cold = time_way(ways[name], folder / name, unit, n_units, args.threads if name != "numpy" else 1)
            dropped &= cold
            for step in STEPS:
                seconds[step][name].append(taken[step])
    mb = n_units * n_bytes / 2**20
    return {
        "mb": mb,
        "chunk_mb": unit[PAIRS[0]][0].nbytes / 2**20,
        "shard_mb": unit[PAIRS[0]].nbytes / 2**20,
        "side": args.side,
        "dtype": args.dtype,
        "threads": args.threads,
        "repeats": args.repeats,
        "cold_is_cold": dropped,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "median_s": {step: {n: statistics.median(each) for n, each in of.items()} for step, of in seconds.items()},
        "ratios": {step: ratios_to_numpy(of) for step, of in seconds.items()},
    }


def time_way(
    make: Callable[[Path], Way], folder: Path, unit: Unit, n_units: int, n_threads: int
) -> tuple[dict[str, float], bool]:
    """Seconds of each step, once; and whether the kernel did drop the files."""
    folder.mkdir()
    os.sync()
    way, taken = make(folder), {}
    taken["write"] = clock(lambda: way.write(unit, n_units))
    dropped = drop_from_cache(folder)
    way.open()
    taken["cold"] = clock(way.read)
    taken["warm"] = clock(way.read)
    taken["gather"] = min(time_gather(gather, unit[PAIRS[0]].shape[1], n_units, n_threads) for gather in way.gathers())
    del way
    shutil.rmtree(folder)
    return taken, dropped


def time_gather(gather: Gather, side: int, n_units: int, n_threads: int) -> float:
    """Seconds of one gather of every array, after one that is not timed."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(n_units * ROWS_PER_SHARD)[:GATHERED_ROWS].tolist()
    tasks = [
        (pair, row, rng.choice(side * side, min(GATHERED_PIXELS, side * side), replace=False))
        for row in rows
        for pair in PAIRS
    ]
    with ThreadPoolExecutor(n_threads) as threads:

        def run() -> None:
            list(threads.map(lambda task: gather(*task), tasks))

        run()
        return clock(run)


def ratios_to_numpy(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """NumPy's time divided by each other way's: of every repetition, and their median."""
    ratios = {
        name: [numpy_s / own_s for numpy_s, own_s in zip(seconds["numpy"], taken, strict=True)]
        for name, taken in seconds.items()
        if name != "numpy"
    }
    return {name: {"median": statistics.median(each), "each": each} for name, each in ratios.items()}


def clock(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def make_unit(chunk_mb: float, side: int, dtype: str) -> Unit:
    """Random activations of 8 rows, with as many channels as a row's size needs."""
    n_channels = max(1, round(chunk_mb * 2**20 / (side * side * np.dtype(dtype).itemsize)))
    rng = np.random.default_rng(0)
    shape = (ROWS_PER_SHARD, side, side, n_channels)
    return {pair: rng.standard_normal(shape, np.float32).astype(dtype) for pair in PAIRS}


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


def drop_from_cache(folder: Path) -> bool:
    """Ask the kernel to forget the files below `folder`; whether it did."""
    if not hasattr(os, "posix_fadvise"):
        return False
    os.sync()
    large = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 2**20]
    for path in large:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return not any(is_in_memory(path) for path in large)


def is_in_memory(path: Path) -> bool:
    """Whether the kernel (Linux) holds any page of the file; to read a byte and see would set off readahead."""
    mapped = np.memmap(path, np.uint8, "r")
    pages = np.zeros(-(-mapped.size // mmap.PAGESIZE), np.uint8)
    mincore = ctypes.CDLL(None).mincore
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    if mincore(mapped.ctypes.data, mapped.size, pages.ctypes.data) != 0:
        raise OSError(f"{path}: mincore failed")
    return bool((pages & 1).any())


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _rows(index: int) -> slice:
    return slice(index * ROWS_PER_SHARD, (index + 1) * ROWS_PER_SHARD)


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result for people: a Markdown table, and the ratios of every repetition."""
    yield (
        f"{result['mb']:.0f} MB of {result['dtype']}, chunks of {result['chunk_mb']:g} MB ({result['side']}×"
        f"{result['side']} pixels), shards of {result['shard_mb']:g} MB, {result['threads']} threads, "
        f"{result['cores']} cores, load average {result['load_average']:.1f}; cold reads "
        f"{'came from the disk' if result['cold_is_cold'] else 'may have come from memory'}"
    )
    median_s, ratios = result["median_s"], result["ratios"]
    yield ""
    yield "| × one-threaded NumPy | " + " | ".join(STEPS) + " |"
    yield "|---" * (len(STEPS) + 1) + "|"
    for name in ratios["write"]:
        yield f"| {name} | " + " | ".join(f"{ratios[step][name]['median']:.2f}" for step in STEPS) + " |"
    rates = [f"{result['mb'] / median_s[step]['numpy']:.0f} MB/s" for step in STEPS[:-1]]
    yield "| numpy itself | " + " | ".join([*rates, f"{median_s['gather']['numpy'] * 1000:.0f} ms"]) + " |"
    yield ""
    for step in STEPS:
        for name, ratio in ratios[step].items():
            yield f"{step:6} {name}: " + ", ".join(f"{one:.2f}" for one in ratio["each"])


if __name__ == "__main__":
    main()
