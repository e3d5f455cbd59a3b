"""Dice against strokes and seconds: `label`'s learner beside those of ilastik and napari-convpaint.

    python benchmarks/accuracy/strokes.py CACHE [--methods label,ridge,head,catboost,forest] [--strokes 32]
        [--per-image 8] [--folds 4] [--only 0,1] [--text none] [--steps 40] [--full-masks 4] [--seed 0] [--json]

On the training images of a cache, cross-validated over groups. A simulated user (simulated_user.py) goes through
images in a seeded order and draws so many strokes on each: first one on each class, then one in the largest region
that the method's mask has wrong. After every stroke the method learns; after 2, 4, 8, ... strokes it segments the
held-out images. Nothing is chosen by them. Methods, all from one thread:

* `label`: ridge regression and warm-started head, averaged, as the page shows them; `ridge` and `head`: either alone.
  The head takes `--steps` steps a stroke, so that results do not depend on the machine's speed.
* `catboost`: napari-convpaint's classifier and settings (100 trees of depth 5, rate 0.1) on the same activations.
* `forest`: ilastik's, scikit-learn's random forest of 100 trees, on the cache's filters.

With `--full-masks N`, the Dice of `train-head`'s pixel head on full masks of the first N images, and the strokes after
which each method comes to it. Seconds are those in which methods learn from strokes and segment the image at hand:
what a user waits for. The load of the machine stands beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from folds import dice_of_head, folds, labelled, originals
from jaxtyping import UInt8
from scoring import dice_of_images
from seeding import named_generator
from simulated_user import correction, marking

from textdiff.components import CachedFeatures, FeatureReader, LiveTrainer, SampleRow, Split, open_head_data
from textdiff.config import TrainConfig

IGNORE = 255
N_FILTERS = 60
PIXELS_AT_ONCE = 32_768
LENGTH, WIDTH = 24 / 512, 3
"""Of a stroke: share of the image's side, and pixels."""

Labels = Mapping[str, UInt8[np.ndarray, "y x"]]
"""Id of a row → what was drawn on it."""


class Method(ABC):
    """One who learns from strokes."""

    def __init__(self, reader: FeatureReader, args: argparse.Namespace) -> None:
        self.reader, self.args = reader, args

    @abstractmethod
    def learn(self, rows: Sequence[SampleRow], labels: Labels, drawn_on: SampleRow) -> None:
        """Learn from all that was drawn; the last stroke is on one row."""

    @abstractmethod
    def segment(self, row: SampleRow) -> UInt8[np.ndarray, "y x"]:
        """Class indices of a row."""


class Ours(Method):
    """The learner of `textdiff label`, or a part of it."""

    def __init__(self, reader: FeatureReader, args: argparse.Namespace, part: str) -> None:
        super().__init__(reader, args)
        self.part, self.trainer = part, LiveTrainer.of_cache(reader, text=args.text)

    def learn(self, rows: Sequence[SampleRow], labels: Labels, drawn_on: SampleRow) -> None:
        """A lesson."""
        self.trainer.hold(drawn_on, torch.from_numpy(labels[drawn_on.id]))
        self.answer = self.trainer.solve()
        if self.part != "ridge" and self.trainer.can_learn:
            self.answer = self.trainer.train(rows, steps=self.args.steps)

    def segment(self, row: SampleRow) -> UInt8[np.ndarray, "y x"]:
        """By the part."""
        (x,) = self.trainer.data.inputs([row])
        parts = {"label": self.answer.probabilities, "ridge": self.answer.of_ridge, "head": self.answer.of_head}
        classes: np.ndarray = parts[self.part](x).max(0).indices.numpy().astype(np.uint8)
        return classes


class Trees(Method):
    """A classifier of single pixels, fitted anew to all drawn pixels after each stroke."""

    def __init__(self, reader: FeatureReader, args: argparse.Namespace, kind: str) -> None:
        super().__init__(reader, args)
        sources = ("filters",) if kind == "forest" else None
        self.kind = kind
        self.data: CachedFeatures = open_head_data(
            reader, blocks=None, timesteps=None, text="none", seed=0, device="cpu", sources=sources
        )

    def learn(self, rows: Sequence[SampleRow], labels: Labels, drawn_on: SampleRow) -> None:
        """Fit it."""
        features, truth = [], []
        for row in rows:
            if row.id in labels:
                flat = labels[row.id].ravel()
                drawn = (flat != IGNORE).nonzero()[0]
                features.append(self._features(row, torch.from_numpy(drawn)))
                truth.append(flat[drawn])
        self.classifier = self._new().fit(np.concatenate(features), np.concatenate(truth))

    def _new(self) -> Any:  # noqa: ANN401
        if self.kind == "forest":
            from sklearn.ensemble import RandomForestClassifier

            return RandomForestClassifier(100, n_jobs=1, random_state=self.args.seed)
        from catboost import CatBoostClassifier

        settings = {"iterations": 100, "learning_rate": 0.1, "depth": 5}
        return CatBoostClassifier(
            **settings, thread_count=1, random_seed=self.args.seed, verbose=False, allow_writing_files=False
        )

    def segment(self, row: SampleRow) -> UInt8[np.ndarray, "y x"]:
        """All pixels, some at once."""
        parts = torch.arange(self.data.size[0] * self.data.size[1]).split(PIXELS_AT_ONCE)
        classes = [np.ravel(self.classifier.predict(self._features(row, part))) for part in parts]
        return np.concatenate(classes).astype(np.uint8).reshape(self.data.size)

    def _features(self, row: SampleRow, pixels: torch.Tensor) -> np.ndarray:
        features: np.ndarray = torch.cat([x.float() for x in self.data.gather(row, pixels).values()], -1).numpy()
        return features


def make(name: str, reader: FeatureReader, args: argparse.Namespace) -> Method:
    """A method that has seen nothing."""
    return Trees(reader, args, name) if name in ("catboost", "forest") else Ours(reader, args, name)


def draw_and_learn(method: Method, split: Split, reader: FeatureReader, args: argparse.Namespace) -> Iterator[dict]:
    """Figures after 2, 4, 8, ... strokes."""
    train, held_out = originals(split.train), originals(split.val)
    order = torch.randperm(len(train), generator=named_generator(args.seed, "order of images")).tolist()
    length = round(LENGTH * reader.manifest.features.image_size)
    labels: dict[str, np.ndarray] = {}
    seconds, n_pixels = 0.0, 0
    for n in range(1, args.strokes + 1):
        row = train[order[((n - 1) // args.per_image) % len(order)]]
        truth, own = reader.labels(row.row), labels.setdefault(row.id, np.full_like(reader.labels(row.row), IGNORE))
        if n <= 2:
            stroke = marking(truth, 2 - n, length=length, width=WIDTH)
        else:
            started = time.perf_counter()
            predicted = method.segment(row)
            seconds += time.perf_counter() - started
            stroke = correction(predicted, truth, own, length=length, width=WIDTH)
        if stroke is not None:
            own[stroke.pixels] = stroke.label
        if n > 1:
            started = time.perf_counter()
            method.learn(train, labels, row)
            seconds += time.perf_counter() - started
        elif isinstance(method, Ours):
            method.trainer.hold(row, torch.from_numpy(own))
        if n > 1 and n & (n - 1) == 0:
            n_pixels = sum(int((drawn != IGNORE).sum()) for drawn in labels.values())
            dice = dice_of_images(reader, held_out, method.segment)
            yield {"strokes": n, "dice": statistics.fmean(dice.values()), "seconds": seconds, "pixels": n_pixels}


def dice_of_full_masks(reader: FeatureReader, split: Split, args: argparse.Namespace) -> float:
    """Of `train-head`'s pixel head on full masks of the first images of the same order."""
    train = originals(split.train)
    order = torch.randperm(len(train), generator=named_generator(args.seed, "order of images")).tolist()
    config = TrainConfig(Path(os.devnull), Path(os.devnull), head="pixel", text=args.text, seed=args.seed, device="cpu")
    masks = Split(tuple(train[i] for i in order[: args.full_masks]), originals(split.val))
    return statistics.fmean(dice_of_head(config, reader, masks).values())


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Curves of all methods on all folds."""
    reader = FeatureReader(args.cache)
    divided = folds(labelled(reader), args.folds, args.seed)
    curves: dict[str, list[list[dict]]] = {name: [] for name in args.methods}
    full = []
    for fold in args.only or range(args.folds):
        for name in args.methods:
            curve = []
            for point in draw_and_learn(make(name, reader, args), divided[fold], reader, args):
                curve.append(point)
                print(json.dumps({"method": name, "fold": fold, "load": os.getloadavg()[0]} | point), flush=True)
            curves[name].append(curve)
        if args.full_masks:
            full.append(dice_of_full_masks(reader, divided[fold], args))
    result = {"curves": {name: mean_curve(of_folds) for name, of_folds in curves.items()}}
    return result | ({"full_masks": args.full_masks, "dice_of_full_masks": statistics.fmean(full)} if full else {})


def mean_curve(of_folds: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Mean over folds at each number of strokes."""
    return [
        {name: statistics.fmean(point[name] for point in points) for name in points[0]}
        for points in zip(*of_folds, strict=True)
    ]


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A table of Dice (seconds) by method and number of strokes."""
    numbers = [round(point["strokes"]) for point in next(iter(result["curves"].values()))]
    yield "strokes   " + "".join(f"{n:>14}" for n in numbers)
    for name, curve in result["curves"].items():
        yield f"{name:<10}" + "".join(f"{point['dice']:7.3f} ({point['seconds']:.0f} s)".rjust(14) for point in curve)
    if "full_masks" in result:
        target = result["dice_of_full_masks"]
        yield f"head on full masks of {result['full_masks']} images: {target:.3f}"
        for name, curve in result["curves"].items():
            reached = next((point for point in curve if point["dice"] >= target), None)
            yield f"{name}: " + ("not reached" if reached is None else f"{reached['strokes']:.0f} strokes")


def parse_arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["label", "ridge", "head", "forest"])
    parser.add_argument("--strokes", type=int, default=32)
    parser.add_argument("--per-image", type=int, default=8)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--only", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--text", choices=("true", "none"), default="none")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--full-masks", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Draw, learn and score."""
    args = parse_arguments()
    torch.set_num_threads(1)
    result = measure(args)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))


if __name__ == "__main__":
    main()
