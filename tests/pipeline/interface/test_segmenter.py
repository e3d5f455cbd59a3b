"""The segmenter for users: many images in order and in bounded memory, explanations, and predictions as files."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff import Segmenter, explain
from textdiff.errors import ConfigError, DataError, TextdiffError
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.explanation.plots import draw_explanation
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.runs.run_config import RunConfig
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


@pytest.mark.slow
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


def test_there_are_as_many_texts_and_names_as_images(segmenter, images):
    two = images[:2]
    with pytest.raises(DataError, match="texts got 1 values for 2 images; give one for each image"):
        segmenter.predict_many(two, [ROUND])
    with pytest.raises(DataError, match="sample_ids got 3 values for 2 images"):
        segmenter.predict_many(two, sample_ids=["a", "b", "c"])
    with pytest.raises(DataError, match="texts got 1 values, and there are more images; give one for each image"):
        list(segmenter.predict_many(two, iter([ROUND])))
    with pytest.raises(DataError, match="sample_ids got 0 values, and there are more images"):
        list(segmenter.predict_many(two, sample_ids=iter([])))
    with pytest.raises(DataError, match="texts got more values than there are images; give one for each image"):
        list(segmenter.predict_many(iter(two), [ROUND, SPINDLE, ROUND]))
    with pytest.raises(DataError, match="sample_ids got more values than there are images"):
        list(segmenter.predict_many(two, sample_ids=(name for name in "abc")))
    assert len(list(segmenter.predict_many(iter(two), iter([ROUND, None]), sample_ids=("a", "b")))) == 2
    with pytest.raises(ConfigError, match="--tta got 3"):
        segmenter.predict_many(images, tta=3)


def test_one_image_in_place_of_many_is_refused(segmenter, images):
    pixels = np.array(Image.open(images[0]))
    for one in (str(images[0]), images[0], pixels, pixels[..., 0], Image.fromarray(pixels)):
        with pytest.raises(DataError, match=r"images is a single one .*; give a list of images, or call predict"):
            segmenter.predict_many(one)
    assert len(list(segmenter.predict_many(np.stack([pixels, pixels])))) == 2


def test_what_is_no_image_text_or_setting_is_one_error_of_ours(segmenter, images, run):
    for wrong in (None, [1], b"a.png", 5, np.zeros((0, 0, 3), np.uint8), Image.new("RGB", (0, 4))):
        with pytest.raises(DataError, match="image "):
            segmenter.predict(wrong)
    with pytest.raises(DataError, match="text is 5; expected text, or None where there is none"):
        segmenter.predict(images[0], 5)
    with pytest.raises(DataError, match="sample_id is 5"):
        segmenter.predict(images[0], sample_id=5)
    with pytest.raises(DataError, match="text is nan"):
        list(segmenter.predict_many(images[:1], [float("nan")]))
    with pytest.raises(ConfigError, match=r"--tta got 2\.0; expected a whole number"):
        segmenter.predict(images[0], tta=2.0)
    with pytest.raises(ConfigError, match="--device got 5; expected text"):
        Segmenter.load(run, device=5)
    with pytest.raises(ConfigError, match="--device got 'cuda:99'"):
        Segmenter.load(run, device="cuda:99")


def test_one_encoder_may_be_given_without_a_list(run):
    loaded = Segmenter.load(run, encoder="timm:x", device="cpu")
    with pytest.raises(TextdiffError, match="timm:x"):
        loaded.predict(np.zeros((8, 8, 3), np.uint8))


def test_it_shows_what_users_need_alone(segmenter):
    public = [name for name in dir(segmenter) if not name.startswith("_")]
    assert public == ["classes", "config", "device", "explain", "head", "load", "mask_values", "predict",
                      "predict_many", "uncertainty_is"]  # fmt: skip
    assert (segmenter.classes, segmenter.device) == ({0: "background", 255: "foreground"}, "cpu")
    assert (segmenter.mask_values.tolist(), segmenter.uncertainty_is) == ([0, 255], "predictive_entropy")


def test_paths_of_any_kind_and_grey_pixels_are_taken(segmenter, images, tmp_path):
    (tmp_path / "grey").mkdir()
    grey = np.array(Image.open(images[0]).convert("L"))
    Image.fromarray(grey).save(tmp_path / "grey" / "a.png")
    with os.scandir(tmp_path / "grey") as entries:
        of_file = segmenter.predict(next(entries), ROUND)
    of_pixels = segmenter.predict(grey, ROUND, sample_id="a")
    np.testing.assert_array_equal(of_pixels.probabilities, of_file.probabilities)


@pytest.fixture
def with_window(run, tmp_path):
    """The run as if its images had been of more bits, from 0 to 2000."""
    config = RunConfig.read(run)
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    replace(config, features=replace(config.features, window=(0, 2000))).write(tmp_path)
    return Segmenter.load(tmp_path, device="cpu")


def test_values_of_more_bits_in_memory_go_through_the_runs_window(segmenter, with_window, tmp_path):
    values = np.arange(480, dtype=np.uint16).reshape(20, 24) * 4
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = with_window.predict(tmp_path / "deep.png", sample_id="a").probabilities
    for given in (values, values.astype(np.int32), Image.open(tmp_path / "deep.png"), Image.fromarray(values)):
        np.testing.assert_array_equal(with_window.predict(given, sample_id="a").probabilities, expected)
        with pytest.raises(DataError, match=r"image holds .. bit values .*trained on plain values of 8 bits"):
            segmenter.predict(given)


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
    with pytest.raises(ConfigError, match=r"mask\.jpg: a prediction is written as one of \.png, \.geojson"):
        found.save(tmp_path / "none" / "mask.jpg")
    assert not (tmp_path / "none").exists()
    for name in ("MASK.PNG", "MASK.Npy", "MASK.GeoJSON", "MASK.OME.ZARR", "MASK.TIFF"):
        found.save(tmp_path / "capitals" / name)
    assert sorted(path.name for path in (tmp_path / "capitals").iterdir()) == sorted(
        ["MASK.PNG", "MASK.Npy", "MASK.GeoJSON", "MASK.OME.ZARR", "MASK.TIFF"]
    )
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "capitals" / "MASK.PNG")), found.mask)
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


@pytest.mark.slow
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
