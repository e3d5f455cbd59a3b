"""Instances that touch, told apart by the numbers in mask files."""

import json

import numpy as np
import pytest
from PIL import Image

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.evaluation.mask_files import objects_of_files
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.training.train import train_head
from textdiff.stages.metrics.instances import split_objects

pytestmark = pytest.mark.slow


def test_touching_instances_are_those_of_the_mask_file(extraction, tmp_path):
    """CASES row 25."""
    folder = extraction.data.parent
    (folder / "classes.json").write_text(json.dumps({"masks": "instances"}))
    for path in folder.glob("*_mask.png"):
        mask = np.zeros((20, 24), np.uint16)
        mask[4:12, 4:10], mask[4:12, 10:16], mask[15:18, 2:5] = 300, 301, 7
        Image.fromarray(mask).save(path)
    extract_features(extraction)
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    train_head(
        training := TrainConfig(
            extraction.cache, tmp_path / "run", head="pixel", text="true", epochs=1, device="cpu", **sizes
        )
    )
    reader = FeatureReader(extraction.cache)
    (row,) = reader.split("test")
    objects = objects_of_files(reader, [row])(row)
    assert np.unique(objects).tolist() == [0, 7, 300, 301]
    assert split_objects(objects > 0).max() == 2
    native = evaluate(EvaluateConfig(training.run, extraction.cache, at="native", device="cpu", instances=True))
    assert native.classes == ("foreground",)
    assert native.scores["pq"] is not None
