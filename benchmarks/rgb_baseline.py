"""The yardstick: how far the colour of a pixel alone segments a data set, without any UNet, text or neighbourhood.

    python benchmarks/rgb_baseline.py DATA [--image-size 256] [--eval-split val] [--seed 0] [--json]

Two scikit-learn classifiers learn from the RGB values of sampled labelled pixels of the training images, and are scored
as heads are: mean over samples and foreground classes of Dice, on whole images at the model's size. Images and masks
are read, resized and labelled as extraction does it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from textdiff.errors import DataError
from textdiff.pipeline.classes import Classes
from textdiff.pipeline.images import read_image, read_mask, resize_image, resize_labels
from textdiff.pipeline.samples import IGNORE, Sample, read_dataset
from textdiff.stages.metrics import confusion, dice

PIXELS_PER_IMAGE = 2000

Labelled = tuple[UInt8[np.ndarray, "y x 3"], UInt8[np.ndarray, "y x"]]
"""An image and its labels at the model's size."""


def main() -> None:
    """Fit both classifiers and print their scores."""
    args = parse_arguments()
    dataset = read_dataset(args.data)
    train, evaluated = (
        labelled_samples(dataset.samples, dataset.classes, split, args.image_size)
        for split in ("train", args.eval_split)
    )
    pixels, labels = draw_pixels(list(train.values()), np.random.default_rng(args.seed))
    n_classes = len(dataset.classes.ids)
    found: dict[str, Any] = {
        "data": str(args.data),
        "image_size": args.image_size,
        "seed": args.seed,
        "n_train": len(train),
        "n_train_pixels": len(labels),
        "eval_split": args.eval_split,
        "n": len(evaluated),
        "classifiers": {
            type(classifier[-1]).__name__: score(classifier.fit(pixels, labels), evaluated, n_classes)
            for classifier in classifiers(args.seed)
        },
    }
    print(json.dumps(found) if args.json else "\n".join(lines(found)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="a data folder or manifest, as for extract-features")
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels of the scored images")
    parser.add_argument("--eval-split", default="val", choices=("train", "val", "test"))
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampled pixels")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def labelled_samples(samples: Sequence[Sample], classes: Classes, split: str, image_size: int) -> dict[str, Labelled]:
    """Sample id → image and labels, of a split's samples that have a labelled pixel."""
    size = (image_size, image_size)
    found = {}
    for sample in samples:
        if sample.split == split and sample.mask is not None:
            labels = resize_labels(classes.labels(read_mask(sample.mask)), size)
            if (labels != IGNORE).any():
                found[sample.id] = resize_image(read_image(sample.image), size), labels
    if not found:
        raise DataError(f"the data has no labelled sample in its {split} split; the yardstick needs some there")
    return found


def draw_pixels(samples: Sequence[Labelled], rng: np.random.Generator) -> Labelled:
    """Colours [pixel, 3] and labels [pixel] of labelled pixels, equally many of each image unless it has too few."""
    colours, truths = [], []
    for image, labels in samples:
        labelled = np.flatnonzero(labels != IGNORE)
        drawn = rng.choice(labelled, min(PIXELS_PER_IMAGE, labelled.size), replace=False)
        colours.append(image.reshape(-1, 3)[drawn])
        truths.append(labels.reshape(-1)[drawn])
    return np.concatenate(colours), np.concatenate(truths)


def classifiers(seed: int) -> Iterator[ClassifierMixin]:
    """The two yardsticks: one linear in colour, one that can bend."""
    yield make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    yield make_pipeline(StandardScaler(), HistGradientBoostingClassifier(random_state=seed))


def score(classifier: ClassifierMixin, samples: dict[str, Labelled], n_classes: int) -> dict[str, Any]:
    """Mean Dice over the samples, each one's, and the seconds that predicting them took."""
    started = time.perf_counter()
    per_sample = {}
    for name, (image, labels) in samples.items():
        predicted = torch.from_numpy(classifier.predict(image.reshape(-1, 3)))
        counts = confusion(predicted, torch.from_numpy(labels).flatten(), n_classes, IGNORE)
        per_sample[name] = float(dice(counts).mean())
    seconds = time.perf_counter() - started
    return {"dice": float(np.mean(list(per_sample.values()))), "per_sample": per_sample, "predict_s": seconds}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"{found['n_train_pixels']} pixels of {found['n_train']} training images; "
        f"Dice on {found['n']} samples of {found['eval_split']} at {found['image_size']} pixels:"
    )
    for name, scores in found["classifiers"].items():
        yield f"{name}: {scores['dice']:.4f}"
        yield from (f"  {sample}: {value:.4f}" for sample, value in scores["per_sample"].items())


if __name__ == "__main__":
    main()
