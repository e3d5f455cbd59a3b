"""Kinds of errors of a head on images that it has not learnt from, and the cost of each kind in Dice.

    python benchmarks/accuracy/errors.py CACHE [--head pixel] [--text none] [--no-position] [--folds 5] [--seed 0]
        [--device auto] [--json]
    python benchmarks/accuracy/errors.py CACHE --split-for-report val ...

The heads are trained as `few_shot.py` trains them, and score the images of the other folds (or of the validation split,
once all choices are made). Wrong pixels of the foreground, every class but the background, are of one kind each:

    missed      in a true object of which less than a tenth was predicted (a false negative)
    invented    in a predicted object of which less than a tenth is true (a false positive)
    boundary    of the others, those at most 2 pixels from an outline of the truth
    inside      the rest: holes, and outlines further off

Mended Dice is what it would be if the pixels of one kind were right. `merged` is the share of true objects that share
their predicted object with another, `split` the share that several predicted ones divide, each with at least a fifth of
it. `threshold` is the gain of the best threshold of each image, which nobody knows: the part of stain and contrast.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_ladder import divide
from folds import organ, originals
from jaxtyping import Bool, Float
from scipy import ndimage

from textdiff.components import FeatureReader, SampleRow, Split, Trainer, split_objects
from textdiff.config import TrainConfig
from textdiff.errors import TextdiffError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse, unequal

BAND_PIXELS = 2
FOUND = 0.1
PART = 0.2
KINDS = ("missed", "invented", "boundary", "inside")

Mask = Bool[np.ndarray, "y x"]


def main() -> None:
    """Train, divide the errors, and print the table."""
    args = parse_arguments()
    try:
        rows = divided_errors(args)
    except TextdiffError as error:
        raise SystemExit(f"error: {error}") from error
    result = {"mean": means(rows), "by_organ": by_organ(rows), "per_sample": rows}
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    refuse(implausible(result))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--head", choices=("pixel", "context", "paper"), default="pixel")
    parser.add_argument("--text", choices=("true", "none", "shuffled"), default="none")
    parser.add_argument("--no-position", action="store_true", help="as train-head's")
    parser.add_argument("--split-for-report", choices=("cv", "val"), default="cv")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def divided_errors(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each image that was scored."""
    reader = FeatureReader(args.cache)
    config = TrainConfig(
        args.cache,
        Path("unused"),
        head=args.head,
        text=args.text,
        position=not args.no_position,
        seed=args.seed,
        device=args.device,
    )
    rows = []
    for train, scored in divide(reader, args.seed, args.split_for_report, args.folds):
        trainer = Trainer.from_config(config, reader, Split(tuple(train), originals(scored)))
        trainer.run()
        rows += [errors_of_sample(trainer, sample) for sample in trainer.split.val]
    return rows


def errors_of_sample(trainer: Trainer, sample: SampleRow) -> dict[str, Any]:
    """Errors of the head on one image."""
    data = trainer.data
    (x,) = data.inputs([sample])
    probabilities = trainer.head.segment(x).softmax(1).mean(0)
    foreground = 1 - probabilities[0].cpu().numpy()
    labels = data.labels(sample).cpu().numpy()
    known = labels != data.ignore
    truth, predicted = (labels > 0) & known, (probabilities.argmax(0).cpu().numpy() > 0) & known
    return {"id": sample.id, **describe_errors(truth, predicted), "threshold": threshold_gain(truth, foreground, known)}


def describe_errors(truth: Mask, predicted: Mask) -> dict[str, Any]:
    """Dice, mended Dice by kind, and the shares of merged and split objects."""
    kinds = kinds_of_errors(truth, predicted)
    mended = {kind: dice(truth, predicted ^ wrong) for kind, wrong in kinds.items()}
    merged, split = merged_and_split(split_objects(truth), split_objects(predicted))
    n_wrong = {"n_wrong": int((truth ^ predicted).sum()), "n_of_kinds": sum(int(one.sum()) for one in kinds.values())}
    trivial = dice(truth, np.ones_like(truth))
    return {
        "dice": dice(truth, predicted),
        "mended": mended,
        "merged": merged,
        "split": split,
        "trivial": trivial,
        **n_wrong,
    }


def implausible(result: Mapping[str, Any]) -> Iterator[str]:
    """Problems: kinds that are not all wrong pixels, figures out of range, and a head below foreground everywhere."""
    mean, rows = result["mean"], result["per_sample"]
    n_wrong, n_of_kinds = (sum(row[name] for row in rows) for name in ("n_wrong", "n_of_kinds"))
    yield from unequal("wrong pixels of the four kinds, and in all", n_of_kinds, n_wrong)
    yield from outside(0, 1, {"Dice": {row["id"]: row["dice"] for row in rows}, "gain": mean["gain"]})
    yield from outside(0, 1, {"gain of the threshold": mean["threshold"]})
    yield from outside(statistics.fmean(row["trivial"] for row in rows), 1, {"mean Dice": mean["dice"]})


def kinds_of_errors(truth: Mask, predicted: Mask) -> dict[str, Mask]:
    """The wrong pixels by kind; every wrong pixel is of one."""
    missed = truth & ~predicted & barely_covered(truth, predicted)
    invented = predicted & ~truth & barely_covered(predicted, truth)
    rest = (truth ^ predicted) & ~missed & ~invented
    inward, outward = (ndimage.distance_transform_edt(side) for side in (truth, ~truth))
    near = np.where(truth, inward, outward) <= BAND_PIXELS
    return {"missed": missed, "invented": invented, "boundary": rest & near, "inside": rest & ~near}


def barely_covered(objects: Mask, cover: Mask) -> Mask:
    """The objects of a mask of which less than `FOUND` is covered."""
    numbered = split_objects(objects)
    area, covered = (np.bincount(numbered.ravel(), of) for of in (None, cover.ravel()))
    barely = covered < FOUND * area
    barely[0] = False
    result: Mask = barely[numbered]
    return result


def merged_and_split(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Shares of the true objects; nan where there are none."""
    n_true, n_predicted = int(truth.max()) + 1, int(predicted.max()) + 1
    shared = np.bincount((truth * n_predicted + predicted).ravel(), minlength=n_true * n_predicted)
    shared = shared.reshape(n_true, n_predicted)
    if n_true == 1:
        return float("nan"), float("nan")
    parts = (shared[1:] >= PART * shared[1:].sum(1, keepdims=True))[:, 1:]
    in_common = parts[:, parts.sum(0) > 1].any(1)
    return float(in_common.mean()), float((parts.sum(1) > 1).mean())


def threshold_gain(truth: Mask, foreground: Float[np.ndarray, "y x"], known: Mask) -> float:
    """How much better than with 0.5 Dice is with the best of 19 thresholds."""
    at = {threshold: dice(truth, (foreground > threshold) & known) for threshold in np.linspace(0.05, 0.95, 19)}
    return max(at.values()) - dice(truth, (foreground > 0.5) & known)


def dice(truth: Mask, predicted: Mask) -> float:
    """Of the foreground; 1 where both are empty."""
    total = int(truth.sum() + predicted.sum())
    return 2 * int((truth & predicted).sum()) / total if total else 1.0


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over images; objects' shares over the images that have any."""
    plain = {name: float(np.nanmean([row[name] for row in rows])) for name in ("dice", "merged", "split", "threshold")}
    mended = {kind: statistics.fmean(row["mended"][kind] - row["dice"] for row in rows) for kind in KINDS}
    return {"n": len(rows), **plain, "gain": mended}


def by_organ(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The means of each organ's images."""
    organs = sorted({organ(row["id"]) for row in rows})
    return {name: means([row for row in rows if organ(row["id"]) == name]) for name in organs}


def lines(result: Mapping[str, Any]) -> list[str]:
    """A Markdown table, a row for each organ and one for all images."""
    columns = ("images", "Dice", *KINDS, "threshold", "merged", "split")
    table = ["| organ | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, of in {**result["by_organ"], "all": result["mean"]}.items():
        gains = [f"+{of['gain'][kind]:.3f}" for kind in KINDS]
        cells = [str(of["n"]), f"{of['dice']:.3f}", *gains, f"+{of['threshold']:.3f}"]
        table.append("| " + " | ".join([name, *cells, f"{of['merged']:.0%}", f"{of['split']:.0%}"]) + " |")
    return table


if __name__ == "__main__":
    main()
