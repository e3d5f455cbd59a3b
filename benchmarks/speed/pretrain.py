"""Steps a second of `pretrain-unet` in bfloat16 and in float32, and their ratio.

    python benchmarks/speed/pretrain.py [--steps 24] [--repeats 3] [--image-size 256] [--crop 32] [--batch-size 8]
        [--device NAME] [--json]

Each precision trains the default UNet on the same random images, for one step and for all of them; the difference of
the two calls is the time of the other steps, without the reading of images and the writing of the UNet. The precisions
take turns, and each turn gives a ratio; the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from textdiff import pretrain_unet
from textdiff.config import PretrainConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from devices import add_device
from plausibility import MARGIN, not_positive, outside, refuse

PRECISIONS = ("bfloat16", "float32")
N_IMAGES = 8
ALIKE = 0.2
"""Losses of the two precisions after equal steps differ by less than this share."""


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result) if args.json else "\n".join(f"{name:28} {value}" for name, value in result.items()))
    refuse(implausible(result))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="at least 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=PretrainConfig.image_size)
    parser.add_argument("--crop", type=int, default=PretrainConfig.crop)
    parser.add_argument("--batch-size", type=int, default=PretrainConfig.batch_size)
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both precisions in turns."""
    write_images(folder / "images", args.image_size)
    sizes = {"image_size": args.image_size, "crop": args.crop, "batch_size": args.batch_size}
    config = PretrainConfig(folder / "images", folder / "warm", steps=1, device=args.device, **sizes)
    rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    call_rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    losses: dict[str, float] = {}
    pretrain_unet(config)
    for turn in range(args.repeats):
        for precision in PRECISIONS[:: 1 if turn % 2 == 0 else -1]:
            first, whole = (
                pretrain_unet(replace(config, out=folder / f"{turn}-{precision}-{n}", steps=n, precision=precision))
                for n in (1, args.steps)
            )
            rates[precision].append((args.steps - 1) / (whole.seconds - first.seconds))
            call_rates[precision].append(args.steps / whole.seconds)
            losses[precision] = whole.final_loss
    ratios = [first / second for first, second in zip(*rates.values(), strict=True)]
    return {
        **sizes,
        "steps": args.steps,
        "device": args.device,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "steps_per_s": rates,
        "steps_per_s_of_calls": call_rates,
        "losses": losses,
        "bfloat16_per_float32": ratios,
        "median_bfloat16_per_float32": statistics.median(ratios),
    }


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: no time, a whole call quicker than its steps, and trainings that are not the same but for rounding."""
    yield from not_positive({name: result[name] for name in ("steps_per_s", "losses")})
    for precision, rates in result["steps_per_s"].items():
        of_calls = statistics.median(result["steps_per_s_of_calls"][precision])
        share = of_calls / statistics.median(rates)
        yield from outside(0, MARGIN, {f"steps/s of calls ÷ steps/s, {precision}": share})
    short, full = (result["losses"][precision] for precision in PRECISIONS)
    yield from outside(1 - ALIKE, 1 + ALIKE, {"loss in bfloat16 ÷ loss in float32": short / full})


def write_images(folder: Path, side: int) -> None:
    """Random images."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(N_IMAGES):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{index}.png")


if __name__ == "__main__":
    main()
