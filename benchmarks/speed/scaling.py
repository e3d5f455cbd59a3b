"""Cost of everything beside the model as the number of images grows, extrapolated to very many.

    python benchmarks/speed/scaling.py [--images 200,1000] [--batch-size 8] [--to 100000] [--json]

Makes two caches of small random images (16 pixels, a UNet of 8 channels) with the arrays of `--preset qata` (4 blocks,
3 timesteps, filters), and takes the processor seconds of each operation that looks at every image or unit, the least of
three:

    check    `check_data`: opens, decodes and digests every file
    plan     `extract_features` as a dry run: check, then what is left to do
    again    `extract_features` where nothing is left to do: check, plan, digests, tables
    open     `FeatureReader`
    verify   `verify_cache`: reads every byte

Of each: milliseconds an image (the difference of the two caches over that of their images), seconds for --to images,
and `growth`, the ratio of the two caches' seconds an image: 1 or less where the cost is linear. Files of images and
arrays are small here; their bytes are calculated in docs/scaling.md.

Then, for 24 images of 256 pixels, one core's milliseconds an image to check its files and to filter it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from textdiff import cache_verify, check_data, extract_features
from textdiff.components import FeatureReader
from textdiff.config import ExtractConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, refuse, unequal

SMALL_PIXELS, LARGE_PIXELS, N_LARGE = 16, 256, 24
TABLES = ("manifest.json", "samples.json")
DRIFT = 1.25
"""Of a busy machine, between two operations of which one contains the other."""


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args.images, args.batch_size, args.to)
    print(json.dumps(result) if args.json else "\n".join(f"{name:32} {value}" for name, value in result.items()))
    refuse(implausible(result))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: tuple(sorted(map(int, text.split(","))))  # noqa: E731
    parser.add_argument("--images", type=numbers, default=(200, 1000), metavar="N,N", help="of the two caches")
    parser.add_argument("--batch-size", type=int, default=8, help="images in one unit and one shard")
    parser.add_argument("--to", type=int, default=100_000, help="images to extrapolate to")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(folder: Path, images: tuple[int, int], batch_size: int, to: int) -> dict[str, Any]:
    """Costs and sizes of both caches, extrapolated; then those of large images."""
    unet = UNet2DModel(
        sample_size=SMALL_PIXELS,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    unet.save_pretrained(folder / "unet")
    DDPMScheduler().save_pretrained(folder / "unet")
    caches = [make_cache(folder, n, SMALL_PIXELS, batch_size) for n in images]
    costs = [costs_of(config) for config in caches]
    result: dict[str, Any] = {"images": images, "batch_size": batch_size, "to": to}
    for name, few_s, many_s in ((name, costs[0][name], costs[1][name]) for name in costs[0]):
        slope_s = (many_s - few_s) / (images[1] - images[0])
        result[name] = {
            "ms_an_image": round(slope_s * 1000, 3),
            "seconds": round(many_s + slope_s * (to - images[1]), 1),
            "growth": round(many_s / images[1] * images[0] / few_s, 2),
        }
    result["verify"]["mb"], result["mb_of_shards"] = (n_bytes / 1e6 for n_bytes in bytes_verified(caches[1]))
    for table in TABLES:
        few, many = ((Path(str(config.cache)) / table).stat().st_size for config in caches)
        result[table] = {"mb": round((many + (many - few) / (images[1] - images[0]) * (to - images[1])) / 1e6, 1)}
    return result | large_images(folder)


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: costs of 0, an operation that is cheaper than its own part, and bytes that were not read."""
    costs = {name: result[name]["ms_an_image"] for name in ("check", "plan", "again", "verify")}
    yield from not_positive({f"ms an image to {name}": ms for name, ms in costs.items()})
    yield from not_positive({name: value for name, value in result.items() if name.endswith("pixels_ms")})
    for part, whole in (("check", "plan"), ("plan", "again")):
        if costs[part] > DRIFT * costs[whole]:
            yield f"{whole} takes {costs[whole]:g} ms an image, less than its part {part}, {costs[part]:g} ms"
    yield from unequal(
        "MB that were verified, and that the shards have", result["verify"]["mb"], result["mb_of_shards"]
    )


def bytes_verified(config: ExtractConfig) -> tuple[int, int]:
    """Bytes that `verify_cache` read of a cache, and of its files but the tables in JSON."""
    files = [path for path in Path(str(config.cache)).rglob("*") if path.is_file() and path.suffix != ".json"]
    return cache_verify(config.cache).size_bytes, sum(path.stat().st_size for path in files)


def costs_of(config: ExtractConfig) -> dict[str, float]:
    """Processor seconds of each operation."""
    operations = {
        "check": lambda: check_data(config.data),
        "plan": lambda: extract_features(replace(config, dry_run=True)),
        "again": lambda: extract_features(config),
        "open": lambda: FeatureReader(config.cache),
        "verify": lambda: cache_verify(config.cache),
    }
    return {name: min(cpu_seconds(work) for _ in range(3)) for name, work in operations.items()}


def large_images(folder: Path) -> dict[str, float]:
    """Milliseconds of one core for an image of 256 pixels."""
    config = make_cache(folder, N_LARGE, LARGE_PIXELS, batch_size=8, filters=False)
    check_s = cpu_seconds(lambda: check_data(config.data))
    again_s = cpu_seconds(lambda: extract_features(config))
    filters_s = cpu_seconds(lambda: extract_features(replace(config, filters=True))) - again_s
    return {f"{name}_{LARGE_PIXELS}_pixels_ms": round(s / N_LARGE * 1000, 1)
            for name, s in {"check": check_s, "filter": filters_s}.items()}  # fmt: skip


def make_cache(folder: Path, n_images: int, side: int, batch_size: int, *, filters: bool = True) -> ExtractConfig:
    """A data set of random images and masks, and its cache."""
    data, rng = folder / f"data-{side}-{n_images}", np.random.default_rng(0)
    data.mkdir()
    rows = ["id,image,mask,text,split"]
    for i in range(n_images):
        pixels = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side)).save(data / f"{i}.png")
        Image.fromarray(pixels[..., 0] // 128 * 255).resize((side, side), 0).save(data / f"{i}_mask.png")
        rows.append(f"sub-S{i:05}_ses-E00001_run-1_bp-chest_vp-ap_dx,{i}.png,{i}_mask.png,,train")
    (data / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    config = ExtractConfig(
        data / "manifest.csv", folder / f"cache-{side}-{n_images}", f"diffusers:{folder / 'unet'}", blocks=(0, 1, 2, 3),
        image_size=side, batch_size=batch_size, filters=filters, device="cpu",
    )  # fmt: skip
    extract_features(config)
    return config


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of `work`, in all threads and in processes that have ended."""

    def used_s() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    started_s = used_s()
    work()
    return used_s() - started_s


if __name__ == "__main__":
    main()
