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
import json
import mmap
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from cache_ways import PAIRS, ROWS_PER_SHARD, Gather, Unit, Way, ways_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import MEMORY_MB_PER_S, outside, refuse, unequal

GATHERED_ROWS, GATHERED_PIXELS = 32, 512
STEPS = ("write", "cold", "warm", "gather")


def main() -> None:
    """Measure and print the ratios."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    refuse(implausible(result))


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


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time every way, in turns."""
    unit = make_unit(args.chunk_mb, args.side, args.dtype)
    n_bytes = sum(array.nbytes for array in unit.values())
    n_units = max(1, round(args.mb * 2**20 / n_bytes))
    ways = ways_of(args.threads)
    seconds: dict[str, dict[str, list[float]]] = {step: {name: [] for name in ways} for step in STEPS}
    n_read, dropped = dict.fromkeys(ways, 0), True
    for repetition in range(args.repeats):
        # The order changes, lest one way always find the disk as another left it.
        order = sorted(ways, key=lambda name: (list(ways).index(name) + repetition) % len(ways))
        for name in order:
            n_threads = args.threads if name != "numpy" else 1
            taken, n_read[name], cold = time_way(ways[name], folder / name, unit, n_units, n_threads)
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
        "mb_read": {name: n / 2**20 for name, n in n_read.items()},
        "cold_is_cold": dropped,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "median_s": {step: {n: statistics.median(each) for n, each in of.items()} for step, of in seconds.items()},
        "ratios": {step: ratios_to_numpy(of) for step, of in seconds.items()},
    }


def time_way(
    make: Callable[[Path], Way], folder: Path, unit: Unit, n_units: int, n_threads: int
) -> tuple[dict[str, float], int, bool]:
    """Seconds of each step, once; the bytes that one reading gave; and whether the kernel did drop the files."""
    folder.mkdir()
    os.sync()
    way, taken = make(folder), {}
    taken["write"] = clock(lambda: way.write(unit, n_units))
    dropped = drop_from_cache(folder)
    way.open()
    n_read: list[int] = []
    for step in ("cold", "warm"):
        taken[step] = clock(lambda: n_read.append(way.read()))
    taken["gather"] = min(time_gather(gather, unit[PAIRS[0]].shape[1], n_units, n_threads) for gather in way.gathers())
    del way
    shutil.rmtree(folder)
    return taken, min(n_read), dropped


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


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: a way that reads other than was written, and rates that no memory gives."""
    for name, mb in result["mb_read"].items():
        yield from unequal(f"MB that {name} read, and that it wrote", mb, result["mb"])
    for step in STEPS[:-1]:
        rates = {name: result["mb"] / max(s, 1e-9) for name, s in result["median_s"][step].items()}
        yield from outside(0.01, MEMORY_MB_PER_S, {f"MB/s of {step}": rates})
    # A gather copies the pixels asked for, where a Zarr library reads whole rows.
    yield from outside(1e-6, float("inf"), {"s of gather": result["median_s"]["gather"]})


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


def drop_from_cache(folder: Path) -> bool:
    """Ask the kernel to forget the files below `folder`; whether it did."""
    if not hasattr(os, "posix_fadvise"):
        return False
    os.sync()
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return not any(is_in_memory(path) for path in files)


def is_in_memory(path: Path) -> bool:
    """Whether the kernel (Linux) holds any page of the file; to read a byte and see would set off readahead."""
    mapped = np.memmap(path, np.uint8, "r")
    pages = np.zeros(-(-mapped.size // mmap.PAGESIZE), np.uint8)
    mincore = ctypes.CDLL(None).mincore
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    if mincore(mapped.ctypes.data, mapped.size, pages.ctypes.data) != 0:
        raise OSError(f"{path}: mincore failed")
    return bool((pages & 1).any())


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
