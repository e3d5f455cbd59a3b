"""Prediction of images larger than the model sees: cut as the extraction cuts, put together in bands, never held."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from textdiff import Segmenter
from textdiff.cache.reader import FeatureReader
from textdiff.errors import DataError
from textdiff.pipeline.config.prediction import ModelOverrides, PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.extraction.feature_extractor import FeatureExtractor
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.splits import group_views, originals
from textdiff.pipeline.images.blending import blend
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.prediction.request import PredictionRequest
from textdiff.pipeline.prediction.segmenter import BandSegmenter
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.views.transforms import mean_over_views

pytestmark = pytest.mark.slow


@pytest.fixture
def stored():
    """How the run's cache holds activations, where a test does not say otherwise."""
    return {}


@pytest.fixture
def tiled_run(extraction, tmp_path, stored):
    """A run on 20×24 images cut into 4 tiles of 16 pixels, 2 a forward, each with a noise of its own."""
    settings = replace(extraction, tile=16, tile_overlap=6, noise="per-sample", cache=tmp_path / "tiles", **stored)
    extract_features(settings)
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    training = TrainConfig(
        settings.cache, tmp_path / "run", head="pixel", text="true", epochs=6, device="cpu", **sizes, **rates
    )
    train_head(training)
    return training


@pytest.fixture
def batches(monkeypatch):
    """The ids of every batch that went through the UNet."""
    seen, record = [], FeatureExtractor.record

    def recording(self, batch, *args):
        seen.append(list(batch.ids))
        return record(self, batch, *args)

    monkeypatch.setattr(FeatureExtractor, "record", recording)
    return seen


class Tall:
    """An image of 400×24 pixels that is computed when it is read, and notes what was."""

    size = (400, 24)

    def __init__(self):
        self.tops, self.heights = [], []

    def read(self, top, left, height, width):
        assert left + width <= 24
        self.tops.append(top)
        self.heights.append(height)
        y = (np.arange(top, top + height) % 256).astype(np.uint8)[:, None, None]
        return np.broadcast_to(y, (height, width, 3)).copy()


@pytest.mark.parametrize("stored", [{}, {"dtype": "int8"}, {"pca": 4, "dtype": "int8"}], ids=str)
def test_tiles_are_predicted_as_they_were_cached(tiled_run, extraction, batches):
    reader, config = FeatureReader(tiled_run.cache), RunConfig.read(tiled_run.run)
    head = load_head(tiled_run.run, config, "cpu")
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu")
    segmenter = Segmenter.load(tiled_run.run, device="cpu")
    for parent in ("train0", "train3"):
        rows = [row for row in reader.samples if row.parent == parent]
        logits = [head.segment(x)[0].softmax(0) for x in data.inputs(rows)]
        [(_, first), (_, second)] = blend(logits, [row.tile for row in rows], (20, 24))
        text = None if rows[0].text is None else reader.table.texts[rows[0].text]
        found = segmenter.predict(extraction.data.parent / f"{parent}.png", text, sample_id=parent)
        expected = torch.cat([first, second], 1).numpy()
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
        assert found.mask.shape == (20, 24)
    assert batches[:2] == [["train0@0,0", "train0@0,8"], ["train0@4,0", "train0@4,8"]]
    image = extraction.data.parent / "train0.png"
    own, other = (segmenter.predict(image, sample_id=name).probabilities for name in ("train0", "another"))
    assert np.abs(own - other).max() > 1e-3


def test_views_of_tiles_are_predicted_as_they_were_cached(tiled_run, extraction, batches):
    settings = replace(extraction, tile=16, tile_overlap=6, noise="per-sample", cache=tiled_run.cache)
    extract_features(replace(settings, views=4, views_of="all"))
    reader, head = FeatureReader(tiled_run.cache), load_head(tiled_run.run, RunConfig.read(tiled_run.run), "cpu")
    data = open_head_data(reader, blocks=None, timesteps=None, text="none", seed=0, device="cpu")
    means, rows = [], [row for row in originals(reader.samples) if row.parent == "val0"]
    for views in (group_views(reader.samples, 4)[row.id] for row in rows):
        logits = [head.segment(x)[0] for x in data.inputs(views)]
        means.append(mean_over_views(logits, range(4)).softmax(0))
    batches.clear()
    found = Segmenter.load(tiled_run.run, device="cpu").predict(
        extraction.data.parent / "val0.png", sample_id="val0", tta=4
    )
    expected = torch.cat([band for _, band in blend(means, [row.tile for row in rows], (20, 24))], 1).numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert batches[:3] == [["val0@0,0", "val0@0,0~1"], ["val0@0,0~2", "val0@0,0~3"], ["val0@0,8", "val0@0,8~1"]]


def test_a_large_image_is_read_tile_by_tile_and_finished_strip_by_strip(tiled_run):
    image = Tall()
    segmenter = BandSegmenter.load(tiled_run.run, ModelOverrides(device="cpu"))
    [(request, bands)] = segmenter.segment([PredictionRequest(image)])
    assert request.image is image
    top, first, _ = next(bands)
    assert (top, tuple(first.shape)) == (0, (2, 10, 24))
    assert max(image.tops) <= 20
    tops, heights = zip(*((top, band.shape[1]) for top, band, _ in bands), strict=True)
    assert tops[:2] == (10, 20)
    assert (first.shape[1] + sum(heights), set(image.heights), len(image.tops)) == (400, {16}, 2 * (len(tops) + 1))


def test_small_images_share_a_forward_and_come_out_as_alone(extraction, tmp_path, batches):
    extract_features(extraction)
    training = TrainConfig(
        extraction.cache,
        tmp_path / "run",
        head="pixel",
        text="true",
        epochs=2,
        width=16,
        n_attention_heads=2,
        device="cpu",
    )
    train_head(training)
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("test0", "val0", "val1"):
        (folder / f"{name}.png").write_bytes((extraction.data.parent / f"{name}.png").read_bytes())
    batches.clear()
    predict(PredictConfig(training.run, folder, tmp_path / "masks", probabilities=True, device="cpu"))
    assert batches == [["test0", "val0"], ["val1"]]
    segmenter = Segmenter.load(training.run, device="cpu")
    for name in ("test0", "val0", "val1"):
        alone = segmenter.predict(folder / f"{name}.png").probabilities
        np.testing.assert_allclose(np.load(tmp_path / "masks" / f"{name}.npy"), alone, atol=1e-3)


def test_masks_and_probabilities_of_tiles_are_whole_files(tiled_run, extraction, tmp_path):
    image = extraction.data.parent / "test0.png"
    config = PredictConfig(tiled_run.run, image, tmp_path / "masks", probabilities=True, device="cpu")
    predict(config)
    assert sorted(path.name for path in config.out.iterdir()) == [
        "command.json",
        "predictions.json",
        "test0.npy",
        "test0.png",
    ]
    found = Segmenter.load(tiled_run.run, device="cpu").predict(image, sample_id="test0")
    np.testing.assert_array_equal(np.load(config.out / "test0.npy"), found.probabilities.astype(np.float16))
    np.testing.assert_array_equal(np.array(Image.open(config.out / "test0.png")), found.mask)


def test_an_interrupted_image_leaves_no_half_file(tiled_run, extraction, tmp_path, monkeypatch):
    record, calls = FeatureExtractor.record, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return record(self, *args, **kwargs)

    monkeypatch.setattr(FeatureExtractor, "record", interrupted)
    config = PredictConfig(
        tiled_run.run, extraction.data.parent / "test0.png", tmp_path / "masks", probabilities=True, device="cpu"
    )
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    assert [path.name for path in config.out.iterdir()] == ["predictions.json"]


def test_images_that_cannot_be_used_are_all_named_before_a_model_is_loaded(
    tiled_run, extraction, tmp_path, monkeypatch
):
    monkeypatch.setattr("textdiff.pipeline.extraction.loading.load_unet", lambda *_, **__: pytest.fail("loaded"))
    folder = tmp_path / "images"
    folder.mkdir()
    good = (extraction.data.parent / "test0.png").read_bytes()
    (folder / "good.png").write_bytes(good)
    (folder / "text.png").write_bytes(b"no image")
    (folder / "empty.png").write_bytes(b"")
    tifffile.imwrite(folder / "deep.tif", np.zeros((30, 30), np.uint16), tile=(16, 16))
    config = PredictConfig(tiled_run.run, folder, tmp_path / "masks", device="cpu")
    with pytest.raises(DataError, match="3 of 4 images cannot be used; mend or remove them") as caught:
        predict(config)
    named = [problem.partition("images/")[2].partition(" ")[0] for problem in caught.value.problems]
    assert named == ["deep.tif", "empty.png", "text.png"]
    assert "intensity window" in caught.value.problems[0]
    assert not config.out.exists()


def test_texts_that_cannot_be_read_are_named_with_what_to_do(tiled_run, extraction, tmp_path, monkeypatch):
    monkeypatch.setattr("textdiff.pipeline.extraction.loading.load_unet", lambda *_, **__: pytest.fail("loaded"))
    image = extraction.data.parent / "test0.png"
    config = PredictConfig(tiled_run.run, image, tmp_path / "masks", text="round " * 40, device="cpu")
    with pytest.raises(DataError, match=r"cannot read:\n  - 'round .*': 42 tokens; shorten it to 32"):
        predict(config)
    with pytest.raises(DataError, match="' ': empty; leave the text out instead"):
        predict(replace(config, text=" "))
    assert not config.out.exists()
