"""Single bits of a cache flipped one after another: does `cache verify` find each, and `--resume` mend it?

    python benchmarks/torture/flips.py [--flips 200] [--seed 0] [--out DIR] [--json]

The cache is of six phantom images at 32 pixels, with tiny models. Flips take the kinds of bytes in turn (rows and their
checksums, indexes of shards, zarr.json, samples.json, the manifest and its copy), a random file of the kind, and a
random bit. A flip is found if verify names that file and no other; it is mended if the resumed extraction leaves every
file of the cache as it was before the flip, and ran the UNet on the unit that was hit alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from small_models import extraction_of, write_small

from textdiff import cache_verify, extract_features
from textdiff.cache.verify import shard_places
from textdiff.components import FeatureReader
from textdiff.config import ExtractConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, refuse, unequal

KINDS = ("rows", "indexes", "zarr.json", "samples.json", "manifest.json", "manifest.copy.json")
INDEX_ENTRY_BYTES, CRC_BYTES = 16, 4
"""Of Zarr's shard index: offset and length of each chunk, then the index's CRC32C."""


def make_cache(out: Path) -> ExtractConfig:
    """A phantom of six images and its cache."""
    write_small(out, n_train=4, n_val=1, n_test=1, image_size=32)
    config = extraction_of(out, out / "cache")
    extract_features(config)
    return config


def contents(cache: Path) -> dict[str, bytes]:
    """Every file of the cache."""
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def choose(rng: random.Random, kind: str, before: dict[str, bytes], tails: dict[str, int]) -> tuple[str, int]:
    """A file of a kind, and a byte of it.

    Args:
        rng: source of randomness.
        kind: one of `KINDS`.
        before: the cache's files.
        tails: of every shard, the bytes of its index.
    """
    if kind in ("rows", "indexes"):
        name = rng.choice(sorted(tails))
        rows = len(before[name]) - tails[name]
        return name, rng.randrange(rows) if kind == "rows" else rng.randrange(rows, len(before[name]))
    name = rng.choice(sorted(name for name in before if Path(name).name == kind))
    return name, rng.randrange(len(before[name]))


def flip(path: Path, i: int, bit: int) -> None:
    """Change one bit of a file's i-th byte."""
    content = bytearray(path.read_bytes())
    content[i] ^= 1 << bit
    path.write_bytes(content)


def measure(config: ExtractConfig, n_flips: int, seed: int) -> dict[str, Any]:
    """Flip, verify, mend, compare; again and again."""
    cache, rng = Path(str(config.cache)), random.Random(seed)
    before, tails = contents(cache), index_bytes(cache)
    counts, missed, verify_s = {kind: Counter[str]() for kind in KINDS}, [], 0.0
    for number in range(n_flips):
        kind = KINDS[number % len(KINDS)]
        name, i = choose(rng, kind, before, tails)
        flip(cache / name, i, rng.randrange(8))
        started = time.perf_counter()
        found = [damage.path for damage in cache_verify(cache).damaged] == [name]
        verify_s += time.perf_counter() - started
        n_forwards = extract_features(replace(config, resume=True)).n_forwards
        expected = config.batch_size if name in tails and name.startswith("features/") else 0
        mended = contents(cache) == before and n_forwards == expected
        counts[kind].update(flips=1, found=found, mended=mended)
        missed += [] if found and mended else [{"file": name, "byte": i, "found": found, "mended": mended}]
    total = sum(counts.values(), Counter())
    return {**total, "kinds": counts, "missed": missed, "verify_s": verify_s / n_flips, "files": len(before)}


def index_bytes(cache: Path) -> dict[str, int]:
    """Of every shard, how many bytes at its end are the index and the index's checksum."""
    places = shard_places(FeatureReader(cache).manifest)
    return {place.record.path: place.rows_per_shard * INDEX_ENTRY_BYTES + CRC_BYTES for place in places}


def main() -> None:
    """Print how many flips were found and mended; exit with 1 if one was not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for phantom, UNet and cache; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(make_cache(args.out or Path(temporary)), args.flips, args.seed)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    refuse(implausible(result))
    sys.exit(1 if result["missed"] else 0)


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: a kind of bytes that was never flipped, no time, and flips that are neither mended nor missed."""
    yield from not_positive({f"flips of {kind}": count["flips"] for kind, count in result["kinds"].items()})
    yield from not_positive({"files": result["files"], "seconds of verify": result["verify_s"]})
    both = result["flips"] - len(result["missed"])
    yield from unequal("flips found and mended, at least", max(both, 0), min(both, result["found"], result["mended"]))


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The table."""
    for kind, count in result["kinds"].items():
        yield (f"{kind:<20} {count['flips']:>4} flips, {count['found']:>4} found, {count['mended']:>4} mended")
    total = f"{result['flips']} flips, {result['found']} found, {result['mended']} mended"
    yield f"all of {result['files']} files    {total}"
    yield from (f"  - {one}" for one in result["missed"])


if __name__ == "__main__":
    main()
