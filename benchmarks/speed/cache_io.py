"""How fast a cache is written and read, divided by how fast NumPy writes and reads the same bytes on the same disk.

    python benchmarks/speed/cache_io.py [--mb 768] [--chunk-mb 1] [--repeats 5] [--folder DIR]
        [--dtype float16] [--json]

Each repetition writes and reads the same activations in several ways, in turns, since a disk's speed drifts; a ratio
compares the two of one repetition, and the median over the repetitions counts. All of them make the same files: one a
block, timestep and unit of 8 rows, with 4 blocks and 3 timesteps as in the paper; a row is one chunk of --chunk-mb.

    numpy     `tofile` for each file of a unit, then `fsync` for each; `fromfile`
    textdiff  `CacheWriter.write_unit` (activations checked for NaN, a CRC32C for each chunk, files written under
              temporary names, `fsync`, renamed, recorded in the journal); `FeatureReader.read`, which checks each CRC
    zarr      zarr-python's default pipeline on arrays with the cache's metadata, then `fsync`; the same arrays read
    zarrs     as zarr, with the pipeline of the package `zarrs`, where that is installed

Reads are timed twice: cold, after the kernel was asked to drop the files from its cache (the result says whether it
did), and warm, again at once. Files go to a temporary folder below --folder (TMPDIR by default), which needs twice
--mb, and each way's files are removed before it writes again.
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
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr

from textdiff.cache.building.derived import row_loader
from textdiff.cache.building.plan import WorkPlan, plan_work
from textdiff.cache.building.writer import CacheWriter
from textdiff.cache.format.layout import ArrayLayout, features_layout
from textdiff.cache.format.manifest import RowKey
from textdiff.cache.format.maps import StoredMaps
from textdiff.cache.format.samples import SampleRow, SampleTable
from textdiff.cache.format.spec import FeatureSpec
from textdiff.cache.format.zarr_metadata import write_array_metadata
from textdiff.cache.reader import FeatureReader

BLOCKS, TIMESTEPS, ROWS_PER_SHARD, SIDE = (6, 8, 12, 16), (50, 150, 250), 8, 32
PAIRS = [(block, timestep) for block in BLOCKS for timestep in TIMESTEPS]

Unit = dict[tuple[int, int], npt.NDArray[Any]]
"""(block, timestep) → activations [row, y, x, channel] of one unit."""


class Way(Protocol):
    """One way to write units to a folder and to read them back."""

    def write(self, unit: Unit, n_units: int) -> None:
        """Write `unit` again and again, each time to files of its own, all of them on the disk at the end."""

    def finish(self) -> None:
        """What is left to do before reading and is no part of what is timed."""

    def read(self, n_units: int) -> None:
        """Read all of it, a unit at a time, into memory."""


class NumpyWay:
    """`tofile` and `fromfile`."""

    def __init__(self, folder: Path, unit: Unit) -> None:
        self._folder, self._dtype = folder, unit[PAIRS[0]].dtype

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        for index in range(n_units):
            for pair, array in unit.items():
                array.tofile(self._path(index, pair))
            for pair in unit:  # all at once: one by one, each waits for the disk alone
                sync(self._path(index, pair))

    def finish(self) -> None:
        """Nothing."""

    def read(self, n_units: int) -> None:
        """As `Way`."""
        for index in range(n_units):
            self._read_unit(index)

    def _read_unit(self, index: int) -> list[npt.NDArray[Any]]:
        return [np.fromfile(self._path(index, pair), self._dtype) for pair in PAIRS]

    def _path(self, index: int, pair: tuple[int, int]) -> Path:
        return self._folder / f"{index}-{pair[0]}-{pair[1]}"


class TextdiffWay:
    """The cache."""

    def __init__(self, folder: Path, unit: Unit) -> None:
        del unit
        self._folder = folder

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        plan = plan_for(unit, n_units)
        self._writer = CacheWriter(self._folder, plan.manifest)
        for pending in plan.pending:
            self._writer.write_unit(pending, {pair: StoredMaps(array) for pair, array in unit.items()}, {})
        self._n_rows = len(plan.rows)

    def finish(self) -> None:
        """Publish the cache with images and labels of nothing."""
        samples = tuple(
            SampleRow(str(row), str(row), str(row), "train", row, None, (8, 8), "", "", None, None)
            for row in range(self._n_rows)
        )
        image, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
        load = row_loader(images=lambda _: image, labels=lambda _: labels)
        self._writer.publish(SampleTable("", (), samples), {}, None, filters=False, load=load)

    def read(self, n_units: int) -> None:
        """As `Way`."""
        reader = FeatureReader(self._folder)
        for index in range(n_units):
            reader.read(BLOCKS, TIMESTEPS, range(index * ROWS_PER_SHARD, (index + 1) * ROWS_PER_SHARD))


class ZarrWay:
    """zarr-python with its default pipeline."""

    pipeline = "zarr.core.codec_pipeline.BatchedCodecPipeline"

    def __init__(self, folder: Path, unit: Unit) -> None:
        self._folder, self._unit = folder, unit

    def write(self, unit: Unit, n_units: int) -> None:
        """As `Way`."""
        layouts = {pair: layout_of(pair, unit) for pair in PAIRS}
        for layout in layouts.values():
            write_array_metadata(self._folder, layout, n_units * ROWS_PER_SHARD)
        with zarr.config.set({"codec_pipeline.path": self.pipeline}):
            for index in range(n_units):
                for pair, layout in layouts.items():
                    array = zarr.open_array(self._folder / layout.name, mode="r+", config={"write_empty_chunks": True})
                    array[_rows(index)] = unit[pair]
                    sync(self._folder / layout.shard_path(index))

    def finish(self) -> None:
        """Nothing."""

    def read(self, n_units: int) -> None:
        """As `Way`."""
        with zarr.config.set({"codec_pipeline.path": self.pipeline}):
            for index in range(n_units):
                self._read_unit(index)

    def _read_unit(self, index: int) -> list[Any]:
        names = [layout_of(pair, self._unit).name for pair in PAIRS]
        return [zarr.open_array(self._folder / name, mode="r")[_rows(index)] for name in names]


class ZarrsWay(ZarrWay):
    """zarr-python with the pipeline of `zarrs`."""

    pipeline = "zarrs.ZarrsCodecPipeline"


def main() -> None:
    """Measure and print the ratios."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = measure(args, Path(folder))
    print(json.dumps(found) if args.json else "\n".join(lines(found)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=768, help="what each way writes and reads")
    parser.add_argument("--chunk-mb", type=float, default=1, help="size of a row, which is one chunk")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="on which disk; TMPDIR's by default")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time every way, in turns."""
    unit = make_unit(args.chunk_mb, args.dtype)
    n_bytes = sum(array.nbytes for array in unit.values())
    n_units = max(1, round(args.mb * 2**20 / n_bytes))
    ways: dict[str, type[Way]] = {"numpy": NumpyWay, "textdiff": TextdiffWay, "zarr": ZarrWay}
    if importlib.util.find_spec("zarrs"):
        ways["zarrs"] = ZarrsWay
    seconds: dict[str, dict[str, list[float]]] = {
        step: {name: [] for name in ways} for step in ("write", "cold", "warm")
    }
    dropped = True
    for repetition in range(args.repeats):
        # The order changes, lest one way always find the disk as another left it.
        order = sorted(ways, key=lambda name: (list(ways).index(name) + repetition) % len(ways))
        for name in order:
            dropped &= time_way(
                ways[name], folder / name, unit, n_units, {step: seconds[step][name] for step in seconds}
            )
    return {
        "mb": n_units * n_bytes / 2**20,
        "chunk_mb": unit[PAIRS[0]][0].nbytes / 2**20,
        "shard_mb": unit[PAIRS[0]].nbytes / 2**20,
        "dtype": args.dtype,
        "repeats": args.repeats,
        "cold_is_cold": dropped,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "mb_per_s": {
            step: {name: n_units * n_bytes / 2**20 / statistics.median(taken) for name, taken in by_way.items()}
            for step, by_way in seconds.items()
        },
        "ratios": {step: ratios_to_numpy(by_way) for step, by_way in seconds.items()},
    }


def time_way(way: type[Way], folder: Path, unit: Unit, n_units: int, seconds: dict[str, list[float]]) -> bool:
    """Write, read cold and read warm once; whether the kernel did drop the files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
    instance = way(folder, unit)
    seconds["write"].append(clock(lambda: instance.write(unit, n_units)))
    instance.finish()
    dropped = drop_from_cache(folder)
    seconds["cold"].append(clock(lambda: instance.read(n_units)))
    seconds["warm"].append(clock(lambda: instance.read(n_units)))
    shutil.rmtree(folder)
    return dropped


def ratios_to_numpy(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """NumPy's time divided by each other way's: of every repetition, and their median."""
    ratios = {
        name: [numpy_s / own_s for numpy_s, own_s in zip(seconds["numpy"], taken, strict=True)]
        for name, taken in seconds.items()
        if name != "numpy"
    }
    return {name: {"median": statistics.median(each), "each": each} for name, each in ratios.items()}


def clock(work: Callable[[], None]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def make_unit(chunk_mb: float, dtype: str) -> Unit:
    """Random activations of 8 rows, 32×32 points, and as many channels as a row's size needs."""
    n_channels = max(1, round(chunk_mb * 2**20 / (SIDE * SIDE * np.dtype(dtype).itemsize)))
    rng = np.random.default_rng(0)
    shape = (ROWS_PER_SHARD, SIDE, SIDE, n_channels)
    return {pair: rng.standard_normal(shape, np.float32).astype(dtype) for pair in PAIRS}


def layout_of(pair: tuple[int, int], unit: Unit) -> ArrayLayout:
    """The cache's layout of one array."""
    _, y, x, channel = unit[pair].shape
    return features_layout(*pair, (y, x, channel), str(unit[pair].dtype), ROWS_PER_SHARD)


def plan_for(unit: Unit, n_units: int) -> WorkPlan:
    """The plan of an extraction of as many images as the units hold."""
    spec = FeatureSpec(
        unet="random",
        unet_digest="",
        prediction_type="epsilon",
        noise="shared",
        noise_draws=1,
        seed=0,
        image_size=8,
        window=None,
        dtype=str(unit[PAIRS[0]].dtype),
        rows_per_shard=ROWS_PER_SHARD,
    )
    _, y, x, channel = unit[PAIRS[0]].shape
    keys = [RowKey(str(row), "") for row in range(n_units * ROWS_PER_SHARD)]
    return plan_work(None, spec, keys, dict.fromkeys(BLOCKS, (y, x, channel)), TIMESTEPS)


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


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"{found['mb']:.0f} MB of {found['dtype']}, chunks of {found['chunk_mb']:g} MB, shards of "
        f"{found['shard_mb']:g} MB; {found['cores']} cores, load average {found['load_average']:.1f}; cold reads "
        f"{'came from the disk' if found['cold_is_cold'] else 'may have come from memory'}"
    )
    for step, rates in found["mb_per_s"].items():
        yield f"{step:5} MB/s: {', '.join(f'{name} {rate:.0f}' for name, rate in rates.items())}"
        for name, ratio in found["ratios"][step].items():
            each = ", ".join(f"{one:.2f}" for one in ratio["each"])
            yield f"      {name} / numpy: {ratio['median']:.2f} (median of {each})"


if __name__ == "__main__":
    main()
