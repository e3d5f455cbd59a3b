"""What the pipeline around the UNet costs: images/s of extraction, divided by those of the bare truncated forward.

    python benchmarks/extract.py [--images 64] [--image-size 64] [--batch-size 8] [--device auto] [--json]

Both use the same UNet (random weights, made on the spot), blocks, timesteps and batch. The bare forward takes tensors
that are in memory already and drops what it records. Extraction reads PNG files of twice the model's side and writes a
cache into a temporary folder (TMPDIR says where, and so on which disk). After each unit of extraction comes a bare
forward of as many images, since a machine's speed drifts, and the two of a pair are compared.

Two ratios: `units` is the loop alone (read, forward, write shards), the median over the pairs; `all` is the whole call
less the time of loading the UNet, so also looking at the data and publishing the cache. 1 would mean that nothing but
the UNet takes time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from PIL import Image

from textdiff.pipeline.config import ExtractConfig
from textdiff.pipeline.device import resolve_device
from textdiff.pipeline.extract import extract_features, load_stage_one
from textdiff.pipeline.progress import Progress, Task
from textdiff.pipeline.stage_one import StageOne
from textdiff.stages.noise import draw_noise
from textdiff.stages.pretraining import build_unet

CHANNELS = (64, 128, 192, 256)
BLOCKS = (2, 4, 6, 7)
"""One of each level, the last of all included: nothing is cut off, and the cache is at its largest."""


def main() -> None:
    """Measure and print the ratios."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    print(json.dumps(found) if args.json else "\n".join(lines(found)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="images to extract")
    parser.add_argument("--image-size", type=int, default=64, help="side in pixels, a multiple of 8")
    parser.add_argument("--batch-size", type=int, default=ExtractConfig.batch_size)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make a UNet and data in `folder`, which needs room for a cache as well, and extract."""
    device = resolve_device(args.device)
    n_parameters = save_unet(folder / "unet", args.image_size)
    settings = {
        "unet": f"diffusers:{folder / 'unet'}",
        "blocks": BLOCKS,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "device": device,
    }
    config = ExtractConfig(
        data=write_images(folder / "data", args.images, 2 * args.image_size), cache=folder, **settings
    )
    few = write_images(folder / "few", args.batch_size, 2 * args.image_size)
    extract(replace(config, data=few))  # what is done once, such as choosing kernels, is not counted
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "n_parameters": n_parameters,
        "images": args.images,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "timesteps": config.timesteps,
        "blocks": BLOCKS,
        **extract(config),
        "load_average": os.getloadavg()[0],
    }


def save_unet(folder: Path, image_size: int) -> int:
    """Save a random UNet with its noise schedule; its number of parameters."""
    unet = build_unet(image_size, CHANNELS, layers=1, seed=0)
    unet.save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    return int(unet.num_parameters())


def write_images(folder: Path, n: int, side: int) -> Path:
    """Write a manifest of `n` random PNG images without masks and texts."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["id,image,mask,text,split"]
    for index in range(n):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        rows.append(f"{index},{index}.png,,,train")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def extract(config: ExtractConfig) -> dict[str, Any]:
    """Rates and ratios of one extraction into a new cache, which is removed afterwards."""
    started = time.perf_counter()
    stage_one = load_stage_one(config)
    load_s = time.perf_counter() - started
    clock = Clock(stage_one, config)
    with tempfile.TemporaryDirectory(dir=config.cache) as folder:
        started = time.perf_counter()
        n_images = extract_features(replace(config, cache=Path(folder)), clock).n_samples
        call_s = time.perf_counter() - started
    bare_s, units_s, all_s = sum(clock.bare_s), sum(clock.unit_s), call_s - sum(clock.bare_s) - load_s
    ratios = [bare / unit for bare, unit in zip(clock.bare_s, clock.unit_s, strict=True)]
    return {
        "bare_images_per_s": n_images / bare_s,
        "units_images_per_s": n_images / units_s,
        "all_images_per_s": n_images / all_s,
        "load_s": load_s,
        "ratios": ratios,
        "units_per_bare": statistics.median(ratios),
        "all_per_bare": bare_s / all_s,
    }


class Clock(Progress):
    """Takes the time of each unit of an extraction, and after each that of a bare forward of as many images."""

    def __init__(self, stage_one: StageOne, config: ExtractConfig) -> None:
        shape = (3, config.image_size, config.image_size)
        device = stage_one.device
        self._stage_one, self._timesteps = stage_one, config.timesteps
        self._images = torch.rand(config.batch_size, *shape, device=device) * 2 - 1
        self._noise = draw_noise(shape, seed=config.seed, kind="shared", sample_ids=())[0].to(device)
        self._mark = 0.0
        self.unit_s: list[float] = []
        self.bare_s: list[float] = []

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Follow the units, the one task that an extraction reports."""
        del label, total, unit
        self._mark = time.perf_counter()
        yield self

    def advance(self, n: int = 1, **figures: float) -> None:
        """A unit of `n` images is done."""
        del figures
        self.unit_s.append(self._lap())
        self._stage_one.recorder.record(self._images[:n], self._timesteps, self._noise)
        if self._stage_one.device.startswith("cuda"):
            torch.cuda.synchronize(self._stage_one.device)
        self.bare_s.append(self._lap())

    def _lap(self) -> float:
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"{found['device']}, {found['threads']} threads, load average {found['load_average']:.1f}; UNet of "
        f"{found['n_parameters'] / 1e6:.1f} M random parameters, {found['images']} images of {found['image_size']} "
        f"pixels, timesteps {found['timesteps']}, blocks {found['blocks']}, batches of {found['batch_size']}"
    )
    yield (
        f"images/s: bare forward {found['bare_images_per_s']:.2f}, units {found['units_images_per_s']:.2f}, "
        f"all {found['all_images_per_s']:.2f} (loading the UNet, {found['load_s']:.2f} s, left out)"
    )
    yield f"units / bare forward, batch by batch: {', '.join(f'{ratio:.2f}' for ratio in found['ratios'])}"
    yield f"pipeline / bare forward: units {found['units_per_bare']:.3f} (median), all {found['all_per_bare']:.3f}"


if __name__ == "__main__":
    main()
