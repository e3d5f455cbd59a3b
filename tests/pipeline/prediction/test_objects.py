"""Round trips: predict → GeoJSON → labels, and COCO → labels, are the mask that `predict` writes as PNG."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.exchange.importing import read_annotations
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.training.train import train_head

pytestmark = pytest.mark.slow


@pytest.fixture
def prediction(tiny_cache, tmp_path):
    settings = TrainConfig(
        tiny_cache, tmp_path / "run", head="pixel", text="true", epochs=6, device="cpu", width=16, n_attention_heads=2,
        pixels_per_image=64, learning_rate=1e-2, weight_decay=0.01,
    )  # fmt: skip
    train_head(settings)
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        pixels = rng.integers(20, 60, (30, 24, 3)).astype(np.uint8)
        pixels[5:15, 4:12] += 150
        pixels[15:25, 14:22] += 150
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    text = "the nuclei are round"
    return PredictConfig(settings.run, tmp_path / "images", tmp_path / "masks", text=text, device="cpu")


def test_masks_survive_the_way_to_geojson_and_coco_and_back(prediction):
    summary = predict(replace(prediction, formats=("png", "geojson", "coco"), objects=True))
    for name in ("a", "b"):
        mask = read_mask(prediction.out / f"{name}.png")
        assert 0 < (mask > 0).mean() < 1
        labels = tifffile.imread(prediction.out / f"{name}_objects.tif")
        for suffix in (".geojson", "_coco.json"):
            read = read_annotations(prediction.out / f"{name}{suffix}", {f"{name}.png": mask.shape}, summary.classes)
            np.testing.assert_array_equal(read.draw(f"{name}.png").mask, mask)
            np.testing.assert_array_equal(read.draw_objects(f"{name}.png").mask, labels)
    record = json.loads((prediction.out / "predictions.json").read_bytes())["masks"]
    files = {file for about in record.values() for file in about["files"]}
    assert files >= {"a.png", "a.geojson", "a_coco.json", "a_objects.tif", "a_objects.csv"}


def test_geojson_without_objects_has_connected_areas(prediction):
    summary = predict(replace(prediction, formats=("geojson",)))
    assert sorted(path.name for path in prediction.out.glob("*.*json")) == [
        "a.geojson",
        "b.geojson",
        "command.json",
        "predictions.json",
    ]
    read = read_annotations(prediction.out, {"a.png": (30, 24), "b.png": (30, 24)}, summary.classes)
    assert read.left_out == tuple(f"{name}.json: is of no known format" for name in ("command", "predictions"))
    predict(replace(prediction, out=prediction.out.with_name("png")))
    for name in ("a", "b"):
        mask = read_mask(prediction.out.with_name("png") / f"{name}.png")
        np.testing.assert_array_equal(read.draw(f"{name}.png").mask, mask)
