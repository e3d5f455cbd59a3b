"""The segmenter for users: many images in order and in bounded memory, explanations, and predictions as files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff import Segmenter, explain
from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.explanation.plots import draw_explanation
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.training.train import train_head

ROUND, SPINDLE = "the nuclei are round", "spindle nuclei in the upper half"


@pytest.fixture(scope="module")
def run(_extracted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter")
    extract_features(replace(_extracted, cache=folder / "cache", noise="per-sample"))
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "learning_rate": 1e-2}
    config = TrainConfig(folder / "cache", folder / "run", head="pixel", text="true", epochs=8, device="cpu", **sizes)
    train_head(config)
    return config.run


@pytest.fixture
def segmenter(run):
    return Segmenter.load(run, device="cpu")


@pytest.fixture
def images(tiny_data):
    return [tiny_data.parent / f"{name}.png" for name in ("test0", "val0", "val1", "train0", "train1")]


def test_many_images_are_predicted_in_order_each_with_its_text(segmenter, images):
    texts = [ROUND, SPINDLE, None, ROUND, None]
    found = list(segmenter.predict_many(images, texts))
    assert [one.request.text for one in found] == texts
    for image, text, one in zip(images, texts, found, strict=True):
        alone = segmenter.predict(image, text)
        np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-5)
        np.testing.assert_array_equal(one.image, np.array(Image.open(image)))


def test_one_text_is_for_all_and_pixels_and_pillow_images_are_taken_too(segmenter, images):
    opened = [Image.open(images[0]), np.array(Image.open(images[0]))]
    by_pillow, by_pixels = segmenter.predict_many(opened, ROUND, sample_ids=["test0", "test0"], tta=2)
    np.testing.assert_allclose(by_pillow.probabilities, by_pixels.probabilities, atol=1e-6)
    named = segmenter.predict(images[0], ROUND, tta=2)  # a file names its noise
    np.testing.assert_allclose(by_pixels.probabilities, named.probabilities, atol=1e-5)
    assert np.abs(segmenter.predict(opened[1], ROUND, tta=2).probabilities - named.probabilities).max() > 1e-4


def test_images_are_taken_no_more_than_a_batch_ahead(segmenter, images):
    taken = []

    def endless():
        while True:
            taken.append(images[len(taken) % len(images)])
            yield taken[-1]

    found = segmenter.predict_many(endless())
    for n in range(1, 7):
        next(found)
        assert n <= len(taken) <= n + 2 * segmenter.config.features.rows_per_shard


def test_too_few_texts_or_names_are_an_error(segmenter, images):
    with pytest.raises(DataError, match="texts got 1 values, and there are more images; give one for each image"):
        list(segmenter.predict_many(images[:3], [ROUND]))
    with pytest.raises(DataError, match="sample_ids got 0 values"):
        list(segmenter.predict_many(images[:3], sample_ids=[]))
    with pytest.raises(ConfigError, match="--tta got 3"):
        segmenter.predict_many(images, tta=3)


def test_a_prediction_is_written_in_the_format_of_the_suffix(segmenter, images, tmp_path):
    found = segmenter.predict(images[0], ROUND)
    assert {*np.unique(found.mask)} == {0, 255}
    for name in ("a/mask.png", "mask.tif", "mask.geojson", "mask.npy"):
        found.save(tmp_path / name)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "a/mask.png")), found.mask)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mask.tif"), found.mask)
    np.testing.assert_allclose(np.load(tmp_path / "mask.npy"), found.probabilities, atol=1e-3)
    features = json.loads((tmp_path / "mask.geojson").read_text())["features"]
    assert {one["properties"]["classification"]["name"] for one in features} == {"foreground"}
    with pytest.raises(DataError, match=r"mask\.jpg: a prediction is written as one of \.png, \.geojson"):
        found.save(tmp_path / "mask.jpg")
    assert sorted(path.name for path in tmp_path.rglob("mask.*")) == sorted(
        ["mask.png", "mask.tif", "mask.geojson", "mask.npy"]
    )


def test_a_prediction_shows_itself_and_counts_its_classes(segmenter, images):
    found = segmenter.predict(images[0], ROUND)
    background, foreground = found.to_rows()
    assert foreground == {
        "class": "foreground",
        "value": 255,
        "pixels": int((found.mask == 255).sum()),
        "share": float((found.mask == 255).mean()),
    }
    assert background["share"] + foreground["share"] == 1
    assert found._repr_html_().startswith('<img alt="Mask: 20 × 24 pixels: background ')
    assert found.show().to_png().startswith(b"\x89PNG")


def test_a_word_is_explained_as_by_the_command(segmenter, images, run):
    explanation = segmenter.explain(images[0], ROUND, versus=SPINDLE)
    command = explain(run, images[0], text=ROUND, versus=SPINDLE, device="cpu")
    np.testing.assert_array_equal(explanation.effects, command.explanation.effects)
    np.testing.assert_array_equal(explanation.versus.mask, command.explanation.versus.mask)
    assert [one["label"] for one in explanation.to_rows()] == [one.label for one in explanation.ranked()]
    assert explanation.to_rows() == command.to_rows() == command.to_dict()["words"]
    assert explanation.plot().to_png() == draw_explanation(explanation).to_png()
    assert "<img" in explanation._repr_html_()
    assert command.lines()[1:] == [
        *explanation.lines()[1:],
        f"Dice between the two masks: {command.dice['text_versus']:.4f}",
    ]
    with pytest.raises(ConfigError, match="nothing"):
        segmenter.explain(images[0], ROUND, target="nothing")
