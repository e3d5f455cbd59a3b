"""Figures of `evaluate` beside scikit-learn's, from the mask files that `predict` writes for the same images."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.training.train import train_head

pytestmark = pytest.mark.slow

SCORES = {
    "dice": (metrics.f1_score, 1),
    "iou": (metrics.jaccard_score, 1),
    "precision": (metrics.precision_score, np.nan),
    "recall": (metrics.recall_score, np.nan),
}
"""Each with its value for a class that is neither true nor predicted."""
NAMES = ("train0", "train1", "train2", "train3")


def read(path):
    return np.array(Image.open(path)).ravel()


def halve_masks(folder):
    """Make two classes of each mask: its left half keeps 255, its right half is 100; a corner is not labelled, 7."""
    classes = {"0": "background", "255": "left", "100": "right"}
    (folder / "classes.json").write_text(json.dumps({"classes": classes, "ignore": 7}))
    for path in folder.glob("*_mask.png"):
        mask = np.array(Image.open(path))
        columns = np.flatnonzero(mask.any(0))
        mask[:, columns[4:]] = np.where(mask[:, columns[4:]] > 0, 100, 0)
        mask[:2, :5] = 7
        Image.fromarray(mask).save(path)


def mean(values):
    """Mean of the figures that exist."""
    return pytest.approx(np.nanmean(values), abs=1e-6)


@pytest.mark.parametrize("values", [(255,), (100, 255)], ids=["binary", "three classes and unlabelled pixels"])
def test_figures_are_those_of_scikit_learn_on_the_masks_that_predict_writes(extraction, tmp_path, values):
    folder = extraction.data.parent
    if len(values) > 1:
        halve_masks(folder)
    extract_features(replace(extraction, batch_size=1))  # as `predict` runs the UNet, one image at a time
    run, sizes = tmp_path / "run", {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "learning_rate": 1e-2}
    train_head(TrainConfig(extraction.cache, run, head="pixel", text="true", epochs=6, device="cpu", **sizes))
    scores = evaluate(EvaluateConfig(run, extraction.cache, split="train", at="native", device="cpu")).scores
    texts = {row["id"]: row["text"] for row in csv.DictReader(extraction.data.read_text().splitlines())}
    pairs = []
    for name in NAMES:
        predict(PredictConfig(run, folder / f"{name}.png", tmp_path / "masks", text=texts[name] or None, device="cpu"))
        truth, predicted = read(folder / f"{name}_mask.png"), read(tmp_path / "masks" / f"{name}.png")
        pairs.append((truth[truth != 7], predicted[truth != 7]))

    assert [one["id"] for one in scores["per_sample"]] == [*NAMES]
    assert np.unique(np.concatenate([predicted for _, predicted in pairs])).size == len(values) + 1
    for name, (score, absent) in SCORES.items():
        by_class = partial(score, labels=values, average=None, zero_division=absent)
        of_samples = np.array([by_class(*pair) for pair in pairs])
        for row, sample in zip(of_samples, scores["per_sample"], strict=True):
            assert sample[name] == mean(row), (name, sample["id"])
        assert scores[name] == mean(np.nanmean(of_samples, 1))
        assert scores[f"class_{name}"] == [mean(of_class) for of_class in of_samples.T]
        pooled = by_class(*map(np.concatenate, zip(*pairs, strict=True)))
        assert scores[f"micro_{name}"] == mean(pooled)
