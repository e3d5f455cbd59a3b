"""The yardstick: how far the colour of a pixel alone segments a data set, without any UNet, text or neighbourhood.

    python benchmarks/accuracy/rgb_baseline.py CACHE [--eval-split val] [--seed 0] [--json]

Two scikit-learn classifiers learn from the RGB values of sampled labelled pixels of the training images, and are scored
as heads are: mean over samples and foreground classes of Dice, on whole images at the model's size. Of the cache they
see images and labels alone. Colours are scaled to mean 0 and deviation 1 in two ways: over the training pixels, and
within each image, which takes most of the difference between stains away.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from folds import has_labels, originals
from jaxtyping import Float, UInt8
from scoring import dice_of_images
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from textdiff.components import FeatureReader, SampleRow
from textdiff.errors import DataError, TextdiffError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse

PIXELS_PER_IMAGE = 2000
SCALINGS = ("over_training_pixels", "within_each_image")

Colours = Float[np.ndarray, "pixel 3"]
"""Of an image's pixels at the model's size."""


def main() -> None:
    """Fit both classifiers and print their scores."""
    args = parse_arguments()
    try:
        reader = FeatureReader(args.cache)
        train, evaluated = (labelled_rows(reader, split) for split in ("train", args.eval_split))
    except TextdiffError as error:
        raise SystemExit(f"error: {error}") from error
    result: dict[str, Any] = {
        "cache": str(args.cache),
        "image_size": reader.manifest.features.image_size,
        "seed": args.seed,
        "n_train": len(train),
        "eval_split": args.eval_split,
        "n": len(evaluated),
        "over_training_pixels": fit_and_score(reader, train, evaluated, colours_of, args.seed),
        "within_each_image": fit_and_score(reader, train, evaluated, standardised_colours_of, args.seed),
    }
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    refuse(implausible(result))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--eval-split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampled pixels")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def labelled_rows(reader: FeatureReader, split: str) -> list[SampleRow]:
    """Rows of a split that have a labelled pixel, without augmentation."""
    rows = [row for row in originals(reader.split(split)) if has_labels(reader, row)]
    if not rows:
        raise DataError(f"{reader.root} has no labelled sample in its {split} split; the yardstick needs some there")
    return rows


def colours_of(reader: FeatureReader, row: SampleRow) -> Colours:
    """RGB in [0, 255]."""
    return reader.image(row.row).reshape(-1, 3).astype(np.float64)


def standardised_colours_of(reader: FeatureReader, row: SampleRow) -> Colours:
    """Channels at mean 0 and deviation 1 over the image."""
    return StandardScaler().fit_transform(colours_of(reader, row))


def fit_and_score(
    reader: FeatureReader,
    train: Sequence[SampleRow],
    evaluated: Sequence[SampleRow],
    describe: Callable[[FeatureReader, SampleRow], Colours],
    seed: int,
) -> dict[str, Any]:
    """Classifier's name → scores: one that is linear in colour, one that can bend.

    `gain` is the accuracy on the pixels learnt from, less the share of their commonest class.
    """
    colours, labels = draw_pixels(reader, train, describe, np.random.default_rng(seed))
    commonest, result = float(np.bincount(labels).max() / len(labels)), {}
    for classifier in (LogisticRegression(max_iter=1000), HistGradientBoostingClassifier(random_state=seed)):
        fitted = make_pipeline(StandardScaler(), classifier).fit(colours, labels)
        gain = float(fitted.score(colours, labels)) - commonest
        result[type(classifier).__name__] = {"gain": gain, **score(reader, fitted, evaluated, describe)}
    return result


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: Dice out of range, and a classifier that is worse on its own pixels than their commonest class."""
    for scaling in SCALINGS:
        for name, scores in result[scaling].items():
            yield from outside(0, 1, {f"Dice of {name}": scores["per_sample"]})
            yield from outside(-0.01, 1, {f"accuracy of {name} less the commonest class's": scores["gain"]})


def draw_pixels(
    reader: FeatureReader,
    rows: Sequence[SampleRow],
    describe: Callable[[FeatureReader, SampleRow], Colours],
    rng: np.random.Generator,
) -> tuple[Colours, UInt8[np.ndarray, " pixel"]]:
    """Labelled pixels, equally many of each image unless it has too few."""
    colours, truths = [], []
    for row in rows:
        labels = reader.labels(row.row).reshape(-1)
        labelled = np.flatnonzero(labels != reader.table.ignore)
        drawn = rng.choice(labelled, min(PIXELS_PER_IMAGE, labelled.size), replace=False)
        colours.append(describe(reader, row)[drawn])
        truths.append(labels[drawn])
    return np.concatenate(colours), np.concatenate(truths)


def score(
    reader: FeatureReader,
    classifier: ClassifierMixin,
    rows: Sequence[SampleRow],
    describe: Callable[[FeatureReader, SampleRow], Colours],
) -> dict[str, Any]:
    """Mean Dice over the images, and each one's."""
    side = reader.manifest.features.image_size
    dice = dice_of_images(reader, rows, lambda row: classifier.predict(describe(reader, row)).reshape(side, side))
    return {"dice": float(np.mean([*dice.values()])), "per_sample": dice}


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"learnt from {result['n_train']} images; Dice on {result['n']} samples of {result['eval_split']} "
        f"at {result['image_size']} pixels (mean, lowest, highest):"
    )
    for scaling in SCALINGS:
        for name, scores in result[scaling].items():
            values = scores["per_sample"].values()
            where = scaling.replace("_", " ")
            yield f"{name}, scaled {where}: {scores['dice']:.4f}, {min(values):.4f}, {max(values):.4f}"


if __name__ == "__main__":
    main()
