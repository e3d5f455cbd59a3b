"""What the pipeline around the UNet costs: images/s of extraction, divided by those of the bare truncated forward.

    python benchmarks/extract.py [--images 32] [--image-size 64] [--batch-size 8] [--rounds 3] [--device auto] [--json]

Both use the same UNet (random weights, made on the spot), blocks, timesteps and batch. The bare forward takes tensors
that are in memory already and drops what it records. Extraction reads PNG files of twice the model's side and writes a
cache into a temporary folder (TMPDIR says where, and so on which disk). The two are measured by turns, since the
machine's speed drifts, and a round's ratio is taken within the round.

Two ratios: `units` is the loop alone (read, forward, write shards); `all` is the whole call less the time of loading
the UNet, so also looking at the data and publishing the cache. 1 would mean that nothing but the UNet takes time.
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
    """Measure by turns and print the ratios."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    print(json.dumps(found) if args.json else "\n".join(lines(found)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32, help="images in one round")
    parser.add_argument("--image-size", type=int, default=64, help="side in pixels, a multiple of 8")
    parser.add_argument("--batch-size", type=int, default=ExtractConfig.batch_size)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all rounds in `folder`, which needs room for one cache."""
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
    stage_one = load_stage_one(config)
    run_bare(stage_one, config, args.batch_size)  # what is done once, such as choosing kernels, is no round's
    run_pipeline(ExtractConfig(data=few, cache=folder, **settings))
    rounds = [run_round(stage_one, config, args.images) for _ in range(args.rounds)]
    return {
        "device": str(stage_one.conditions()["device"]),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "n_parameters": n_parameters,
        "images": args.images,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "timesteps": config.timesteps,
        "blocks": BLOCKS,
        **{name: statistics.median(each[name] for each in rounds) for name in rounds[0]},
        "rounds": rounds,
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


def run_round(stage_one: StageOne, config: ExtractConfig, n_images: int) -> dict[str, float]:
    """Images/s of both, and their ratios."""
    bare_s = run_bare(stage_one, config, n_images)
    started = time.perf_counter()
    load_stage_one(config)
    load_s = time.perf_counter() - started
    units_s, call_s = run_pipeline(config)
    return {
        "bare_images_per_s": n_images / bare_s,
        "units_images_per_s": n_images / units_s,
        "all_images_per_s": n_images / (call_s - load_s),
        "units_per_bare": bare_s / units_s,
        "all_per_bare": bare_s / (call_s - load_s),
        "load_s": load_s,
    }


def run_bare(stage_one: StageOne, config: ExtractConfig, n_images: int) -> float:
    """Seconds of the forwards alone."""
    shape = (3, config.image_size, config.image_size)
    images = torch.rand(n_images, *shape, device=stage_one.device) * 2 - 1
    noise = draw_noise(shape, seed=config.seed, kind="shared", sample_ids=())[0].to(stage_one.device)
    started = time.perf_counter()
    for batch in images.split(config.batch_size):
        stage_one.recorder.record(batch, config.timesteps, noise)
    if stage_one.device.startswith("cuda"):
        torch.cuda.synchronize(stage_one.device)
    return time.perf_counter() - started


def run_pipeline(config: ExtractConfig) -> tuple[float, float]:
    """Seconds of the units, and of the whole call, into a new cache that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=config.cache) as folder:
        clock = Clock()
        started = time.perf_counter()
        extract_features(replace(config, cache=Path(folder)), clock)
        return clock.units_s, time.perf_counter() - started


class Clock(Progress):
    """Takes the time of the extraction's units, the one task that an extraction reports."""

    units_s = 0.0

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Follow the units."""
        started = time.perf_counter()
        with super().task(label, total, unit) as task:
            yield task
        self.units_s = time.perf_counter() - started


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"{found['device']}, {found['threads']} threads, load average {found['load_average']:.1f}; UNet of "
        f"{found['n_parameters'] / 1e6:.1f} M random parameters, {found['images']} images of {found['image_size']} "
        f"pixels, timesteps {found['timesteps']}, blocks {found['blocks']}, batches of {found['batch_size']}"
    )
    for each in found["rounds"]:
        yield (
            f"bare forward {each['bare_images_per_s']:.2f} images/s; units {each['units_images_per_s']:.2f} "
            f"({each['units_per_bare']:.2f}); all {each['all_images_per_s']:.2f} ({each['all_per_bare']:.2f}); "
            f"loading the UNet {each['load_s']:.2f} s"
        )
    yield f"pipeline / bare forward, median: units {found['units_per_bare']:.3f}, all {found['all_per_bare']:.3f}"


if __name__ == "__main__":
    main()
