"""Scores where the native truth has a class and the labels at the model's size lack it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from textdiff.cache.building import derived, writer
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.lost import false_negatives, lost_pixels
from textdiff.pipeline.training.train import train_head


@pytest.fixture
def contested(extraction):
    """Two lesions of 2 x 1 pixels and a vessel of 1 in the validation masks, which 8 x 8 labels show as one pixel."""
    folder = extraction.data.parent
    (folder / "classes.json").write_text(json.dumps({"classes": {"0": "none", "1": "lesion", "2": "vessel"}}))
    for path in folder.glob("*_mask.png"):
        mask = np.zeros((20, 24), np.uint8)
        if path.name.startswith("val"):
            mask[0, 0], mask[1, :2] = 2, 1
        else:
            mask[2:9, 2:9], mask[10:18, 10:18] = 1, 2
        Image.fromarray(mask).save(path)
    return replace(extraction, image_size=8)


@pytest.fixture
def run(contested, tmp_path):
    extract_features(contested)
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    training = TrainConfig(
        contested.cache, tmp_path / "run", head="pixel", text="true", epochs=1, device="cpu", **sizes
    )
    return training, train_head(training).summary


def test_extraction_names_the_lost_class(contested, caplog):
    extract_features(replace(contested, dry_run=True))
    (line,) = [line for line in caplog.messages if "[lost-class]" in line]
    assert line.startswith("lesion (2, 2 pixels of the mask) is lost")
    assert "8 x 8" in line
    assert line.endswith("val0, val1 [lost-class]")


@pytest.mark.slow
def test_a_lost_class_is_missed_in_every_score(contested, run):
    """CASES row 1."""
    training, summary = run
    reader = FeatureReader(contested.cache)
    assert lost_pixels(reader, reader.split("val")) == {"val0": {1: 2}, "val1": {1: 2}}
    assert lost_pixels(reader, reader.split("train"))["train0"] == {}
    assert [one["class_dice"][0] for one in summary.val_per_sample] == [0, 0]
    evaluation = evaluate(EvaluateConfig(training.run, contested.cache, split="val", device="cpu", instances=True))
    for one in evaluation.scores["per_sample"]:
        assert one["class_dice"][0] == one["class_iou"][0] == one["class_recall"][0] == 0
        assert one["class_pq"][0] in (None, 0)
    assert evaluation.scores["lost"][0] == {"id": "val0", "class": "lesion", "pixels": 2}
    line = "lost at the model's size, counted as false negatives: val0 (lesion, 2 pixels), val1 (lesion, 2 pixels)"
    assert line in evaluation.lines()
    assert "Lost at the model&#39;s size" in (page := evaluation.report.read_text()) or "Lost at the model's" in page
    native = evaluate(EvaluateConfig(training.run, contested.cache, split="val", at="native", device="cpu"))
    assert native.scores["lost"] == []


def test_missed_pixels_are_scaled_and_at_least_one():
    assert false_negatives({1: 400, 2: 3}, 3, 1 / 16)[:, 0].tolist() == [0, 25, 1]
    assert false_negatives({}, 2).sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize("side", [8, 64])
def test_labels_of_an_older_version_are_warned_of_where_they_may_lack_objects(
    contested, tmp_path, monkeypatch, caplog, side
):
    with monkeypatch.context() as patch:
        for module in (derived, writer):
            patch.setattr(module, "LABELS_ARE", "nearest pixel")
        extract_features(replace(contested, image_size=side))
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    training = TrainConfig(
        contested.cache, tmp_path / "run", head="pixel", text="true", epochs=1, device="cpu", **sizes
    )
    train_head(training)
    evaluate(EvaluateConfig(training.run, str(training.cache), split="val", device="cpu"))
    evaluate(EvaluateConfig(training.run, str(training.cache), split="val", device="cpu", at="native"))
    said = [line for line in caplog.messages if "are of an older version" in line]
    assert len(said) == (2 if side == 8 else 0)  # of training, and of the score at the model's size
