"""Small objects in label maps: how many are lost at the model's size, and how near a label map is to its mask.

    python benchmarks/accuracy/small_objects.py [MASKS ...] [--seed 0] [--json]

MASKS are binary mask files of any data, tried at half, a quarter and an eighth of their size. Beside them are drawn
square lesions of 1 to 9 pixels, each at 50 random places of an image of its own (of which the part around is taken),
and images of six vessels that are 2 pixels wide. Four ways of shrinking:

    nearest     the pixel under the centre (textdiff's way before)
    majority    the class of most pixels; of equally many, the rarest
    rarest      the rarest class of any pixel
    textdiff    `resize_labels`

`lost` is the share of masks (of those with foreground) whose label map shows nothing. Dice is that of a head that
predicts the label map itself: `at model` as `evaluate` scores it at the model's size (1 for nearest, since nothing
remembered the mask; now 0 where the map lacks the mask's class), `at native` with the mask, after enlarging.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from textdiff.components import read_mask, resize_labels

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse, unequal

N_LESIONS, N_VESSELS, N_IMAGES = 50, 6, 4
SIDES = range(1, 10)
SIZES = ((1024, 256), (2048, 256))
AROUND = 16
"""Side of the part around a lesion, in pixels of the label map."""
Shrink = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def under_centre(n_source: int, n_target: int) -> np.ndarray:
    """The source pixel into which each target pixel's centre falls."""
    return (2 * np.arange(n_target) + 1) * n_source // (2 * n_target)


def nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask by nearest neighbour."""
    return mask[np.ix_(*(under_centre(*pair) for pair in zip(mask.shape, size, strict=True)))]


def shares(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Share of the foreground in each target pixel."""
    y, x = (under_centre(n, n_source) for n_source, n in zip(mask.shape, size, strict=True))
    cells = (y[:, None] * size[1] + x).reshape(-1)
    filled = np.bincount(cells, mask.reshape(-1) > 0, size[0] * size[1])
    return (filled / np.bincount(cells, minlength=filled.size)).reshape(size)


WAYS: dict[str, Shrink] = {
    "nearest": nearest,
    "majority": lambda mask, size: (shares(mask, size) >= 0.5).astype(np.uint8),
    "rarest": lambda mask, size: (shares(mask, size) > 0).astype(np.uint8),
    "textdiff": resize_labels,
}


def lesion(side: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square at a random place."""
    mask = np.zeros((size, size), np.uint8)
    y, x = rng.integers(0, size - side, 2)
    mask[y : y + side, x : x + side] = 1
    return mask


def vessels(width: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Waves across the image, some of them downwards."""
    mask, along = np.zeros((size, size), np.uint8), np.linspace(0, size - 1, 4 * size)
    for vertical in range(N_VESSELS):
        wave = 0.1 * np.sin(2 * np.pi * (rng.uniform(0.5, 2) * along / size + rng.uniform()))
        across = size * (rng.uniform(0.15, 0.8) + wave)
        for shift in range(width):
            y, x = (along, across + shift)[:: 1 - 2 * (vertical % 2)]
            mask[y.astype(int), x.astype(int)] = 1
    return mask


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice; 1 where both are empty."""
    total = int((one > 0).sum() + (other > 0).sum())
    return 2 * int(((one > 0) & (other > 0)).sum()) / total if total else 1.0


def measured(masks: list[np.ndarray], side: int) -> Iterator[dict[str, float | str]]:
    """A row for each way."""
    for name, shrink in WAYS.items():
        maps = [shrink(mask, (side, side)) for mask in masks]
        lost = float(np.mean([not one.any() for one, mask in zip(maps, masks, strict=True) if mask.any()] or [0]))
        native = [dice(nearest(one, mask.shape), mask) for one, mask in zip(maps, masks, strict=True)]
        model = 1.0 if name == "nearest" else 1 - lost
        yield {"way": name, "lost": lost, "dice_model": model, "dice_native": float(np.mean(native))}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("masks", nargs="*", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    sets = {}
    if args.masks:
        real = [(read_mask(path) > 0).astype(np.uint8) for path in args.masks]
        sets = {(f"{len(real)} files", len(real[0]) * 128 // 250 // n): real for n in (1, 2, 4)}
    for size, target in SIZES:
        for side in SIDES:
            part = AROUND * size // target
            drawn = [lesion(side, part, rng) for _ in range(N_LESIONS)]
            sets[f"lesion {side} x {side} in {size}", target] = drawn
        sets[f"vessels 2 wide in {size}", target] = [vessels(2, size, rng) for _ in range(N_IMAGES)]
    rows = []
    for (name, size), masks in sets.items():
        side = AROUND if name.startswith("lesion") else size
        rows += [{"masks": name, "size": size, **row} for row in measured(masks, side)]
    print(json.dumps(rows) if args.json else "\n".join(lines(rows)))
    refuse(implausible(rows))


def implausible(rows: list[dict[str, float | str]]) -> Iterator[str]:
    """Problems: figures out of range, and masks lost where the rarest class of any pixel is kept."""
    for row in rows:
        where = f"{row['way']} of {row['masks']} at {row['size']}"
        yield from outside(0, 1, {f"{name} by {where}": row[name] for name in ("lost", "dice_model", "dice_native")})
        if row["way"] == "rarest":
            yield from unequal(f"masks lost by {where}, and none", row["lost"], 0)


def lines(rows: list[dict[str, float | str]]) -> Iterator[str]:
    """The table."""
    yield (f"{'masks':<24}{'size':>5}  {'way':<10}{'lost':>7}{'at model':>10}{'at native':>11}")
    for row in rows:
        dices = f"{row['dice_model']:>10.4f}{row['dice_native']:>11.4f}"
        yield f"{row['masks']:<24}{row['size']:>5}  {row['way']:<10}{row['lost']:>7.1%}{dices}"


if __name__ == "__main__":
    main()
