"""Speed of writing a cache to a folder, an HDF5 file and an S3 server on this machine, and of reading it there.

    python benchmarks/speed/stores.py CACHE [--samples 16] [--repeats 3] [--out DIR] [--json]

The forms take turns in each repetition. The kernel is asked to drop the files before each reading from the disk; the
result says whether it did.

    write       `cache export`: every byte of CACHE read, checked and written in the other form
    read        `FeatureReader.read` of everything that is cached of the first --samples rows, with every checksum; an
                HDF5 file is not read in place
    rows        the same rows one by one, as a training asks for them, by a reader that has read nothing: from S3 whole
                shards over the network, of which the rows alone count
    rows again  once more by the same reader: from S3, from local copies; of no row is the checksum computed again

The server is moto's, a process of its own that keeps objects in memory; it says what the protocol and Python cost here,
not how fast Amazon is. It needs the extra dev.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from cache_io import clock, drop_from_cache

from textdiff import cache_export
from textdiff.components import FeatureReader, location

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import MEMORY_MB_PER_S, outside, refuse, unequal

FORMS = {"folder": "folder", "hdf5": "cache.h5", "s3": ""}
SERVER = (
    "import sys; from moto.server import ThreadedMotoServer; s = ThreadedMotoServer('127.0.0.1', 0, verbose=False); "
    "s.start(); print(s.get_host_and_port()[1], flush=True); sys.stdin.read()"
)


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory(dir=args.out) as folder, s3_server() as bucket:
        result = measure(args, Path(folder), bucket)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    refuse(implausible(result))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--samples", type=int, default=16, help="rows that are read")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="on which disk; TMPDIR's by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


@contextmanager
def s3_server() -> Iterator[str]:
    """A bucket at a server of its own process."""
    import s3fs

    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(process.stdout.readline())}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("bench")
        try:
            yield "s3://bench"
        finally:
            process.kill()


def measure(args: argparse.Namespace, folder: Path, bucket: str) -> dict[str, Any]:
    """MB/s of each form and step: the median over the repetitions, in each of which every form has its turn."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in FORMS}
    n_written, dropped = set(), True

    def forget() -> None:
        nonlocal dropped
        dropped &= drop_from_cache(folder)

    for repetition in range(args.repeats):
        order = list(FORMS)[repetition % len(FORMS) :] + list(FORMS)[: repetition % len(FORMS)]
        for name in order:
            out = f"{bucket}/{repetition}" if name == "s3" else str(folder / FORMS[name])
            written = cache_export(args.cache, location(out))
            n_written.add(written.size_bytes)
            rates[name].setdefault("write", []).append(written.size_bytes / 1e6 / written.seconds)
            forget()
            if name != "hdf5":
                for step, rate in read_rates(out, args.samples, forget):
                    rates[name].setdefault(step, []).append(rate)
            remove(out)
    return {
        "cache": str(args.cache),
        "repeats": args.repeats,
        "cold_is_cold": dropped,
        "mb": sum(path.stat().st_size for path in shards_of(args.cache)) / 1e6,
        "mb_written": [n_bytes / 1e6 for n_bytes in sorted(n_written)],
        "load_average": os.getloadavg()[0],
        "mb_per_s": {
            name: {step: statistics.median(each) for step, each in steps.items()} for name, steps in rates.items()
        },
        "each": rates,
    }


def read_rates(cache: str, n_rows: int, forget: Callable[[], None]) -> Iterator[tuple[str, float]]:
    """Step and MB/s of each way to read."""
    # One for each: of an object store a reader keeps local copies, from which the rows would come.
    of_all, of_rows = FeatureReader(cache), FeatureReader(cache)
    rows = [sample.row for sample in of_all.samples[:n_rows]]
    pairs = sorted(of_all.pairs, key=str)

    def in_bulk() -> None:
        of_all.read(of_all.blocks, of_all.timesteps, rows, layers=of_all.layers)

    def one_by_one() -> None:
        for row in rows:
            of_rows.fetch(pairs, row)
            for pair in pairs:
                of_rows.stored(*pair, row).values.view(np.int8).max()

    seconds = {"read": clock(in_bulk)}
    forget()
    seconds |= {step: clock(one_by_one) for step in ("rows", "rows again")}
    n_bytes = sum(of_rows.stored(*pair, row).values.nbytes for pair in pairs for row in rows)
    yield from ((step, n_bytes / 1e6 / each_s) for step, each_s in seconds.items())


def shards_of(cache: Path) -> list[Path]:
    """Files of a cache in a folder that hold rows."""
    return [path for path in cache.rglob("*") if path.is_file() and "c" in path.relative_to(cache).parts[:-1]]


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: other bytes than the cache has, and rates that no memory gives."""
    for mb in result["mb_written"]:
        yield from unequal("MB that were written, and that the cache's shards have", mb, result["mb"])
    yield from outside(0.01, MEMORY_MB_PER_S, {f"MB/s of {name}": rates for name, rates in result["each"].items()})


def remove(cache: str) -> None:
    """Remove a folder, a file or all objects below a URL."""
    if "://" in cache:
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).rm(cache, recursive=True)
    elif Path(cache).is_dir():
        shutil.rmtree(cache)
    else:
        Path(cache).unlink()


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"{result['cache']}, median of {result['repeats']}, load average {result['load_average']:.1f}; cold reads "
        f"{'came from the disk' if result['cold_is_cold'] else 'may have come from memory'}; MB/s:"
    )
    for name, steps in result["mb_per_s"].items():
        yield f"{name:7} {', '.join(f'{step} {rate:.0f}' for step, rate in steps.items())}"


if __name__ == "__main__":
    main()
