"""The yardstick: how far the colour of a pixel alone segments a data set, without any UNet, text or neighbourhood.

    python benchmarks/accuracy/rgb_baseline.py DATA [--image-size 256] [--eval-split val] [--seed 0] [--json]

Two scikit-learn classifiers learn from the RGB values of sampled labelled pixels of the training images, and are scored
as heads are: mean over samples and foreground classes of Dice, on whole images at the model's size. Images and masks
are read, resized and labelled as extraction does it. Colours are scaled to mean 0 and deviation 1 in two ways: over the
training pixels, and within each image, which takes most of the difference between stains away.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from textdiff.cache.format.samples import IGNORE
from textdiff.errors import DataError
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.data.dataset import Sample, read_dataset
from textdiff.pipeline.images.reading import read_image, read_mask
from textdiff.pipeline.images.resizing import resize_image, resize_labels
from textdiff.stages.metrics.overlap import confusion, dice

PIXELS_PER_IMAGE = 2000

Labelled = tuple[Float[np.ndarray, "pixel 3"], UInt8[np.ndarray, " pixel"]]
"""Colours and labels of an image's pixels at the model's size."""


def main() -> None:
    """Fit both classifiers and print their scores."""
    args = parse_arguments()
    dataset = read_dataset(args.data)
    train, evaluated = (
        labelled_samples(dataset.samples, dataset.classes, split, args.image_size)
        for split in ("train", args.eval_split)
    )
    n_classes = len(dataset.classes.ids)
    found: dict[str, Any] = {
        "data": str(args.data),
        "image_size": args.image_size,
        "seed": args.seed,
        "n_train": len(train),
        "eval_split": args.eval_split,
        "n": len(evaluated),
        "over_training_pixels": fit_and_score(train, evaluated, n_classes, args.seed),
        "within_each_image": fit_and_score(scale_each(train), scale_each(evaluated), n_classes, args.seed),
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
    """Sample id → colours in [0, 255] and labels, of a split's samples that have a labelled pixel."""
    size = (image_size, image_size)
    found = {}
    for sample in samples:
        if sample.split == split and sample.mask is not None:
            labels = resize_labels(classes.labels(read_mask(sample.mask)), size)
            if (labels != IGNORE).any():
                image = resize_image(read_image(sample.image), size)
                found[sample.id] = image.reshape(-1, 3).astype(np.float64), labels.reshape(-1)
    if not found:
        raise DataError(f"the data has no labelled sample in its {split} split; the yardstick needs some there")
    return found


def scale_each(samples: dict[str, Labelled]) -> dict[str, Labelled]:
    """Each image's channels at mean 0 and deviation 1 over its own pixels."""
    return {name: (StandardScaler().fit_transform(colours), labels) for name, (colours, labels) in samples.items()}


def fit_and_score(
    train: dict[str, Labelled], evaluated: dict[str, Labelled], n_classes: int, seed: int
) -> dict[str, Any]:
    """Classifier's name → scores: one that is linear in colour, one that can bend."""
    colours, labels = draw_pixels(list(train.values()), np.random.default_rng(seed))
    classifiers = (LogisticRegression(max_iter=1000), HistGradientBoostingClassifier(random_state=seed))
    return {
        type(classifier).__name__: score(
            make_pipeline(StandardScaler(), classifier).fit(colours, labels), evaluated, n_classes
        )
        for classifier in classifiers
    }


def draw_pixels(samples: Sequence[Labelled], rng: np.random.Generator) -> Labelled:
    """Labelled pixels, equally many of each image unless it has too few."""
    colours, truths = [], []
    for pixels, labels in samples:
        labelled = np.flatnonzero(labels != IGNORE)
        drawn = rng.choice(labelled, min(PIXELS_PER_IMAGE, labelled.size), replace=False)
        colours.append(pixels[drawn])
        truths.append(labels[drawn])
    return np.concatenate(colours), np.concatenate(truths)


def score(classifier: ClassifierMixin, samples: dict[str, Labelled], n_classes: int) -> dict[str, Any]:
    """Mean Dice over the samples, and each one's."""
    per_sample = {}
    for name, (colours, labels) in samples.items():
        predicted = torch.from_numpy(classifier.predict(colours))
        counts = confusion(predicted, torch.from_numpy(labels), n_classes, IGNORE)
        per_sample[name] = float(dice(counts).mean())
    return {"dice": float(np.mean(list(per_sample.values()))), "per_sample": per_sample}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield (
        f"learnt from {found['n_train']} images; Dice on {found['n']} samples of {found['eval_split']} "
        f"at {found['image_size']} pixels (mean, lowest, highest):"
    )
    for scaling in ("over_training_pixels", "within_each_image"):
        for name, scores in found[scaling].items():
            values = scores["per_sample"].values()
            where = scaling.replace("_", " ")
            yield f"{name}, scaled {where}: {scores['dice']:.4f}, {min(values):.4f}, {max(values):.4f}"


if __name__ == "__main__":
    main()
