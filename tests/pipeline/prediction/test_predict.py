"""From image to mask: the same logits as from the cache, and masks at the images' own size."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff import Segmenter
from textdiff.errors import ConfigError, DataError, SourceError
from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.views.text_rewriting import rewrite_sides
from textdiff.pipeline.views.transforms import turn, turn_back


@pytest.fixture(scope="session")
def _trained(_extracted, tmp_path_factory):
    """A trained run whose cache was made one image at a time, as prediction works."""
    folder = tmp_path_factory.mktemp("trained")
    extract_features(replace(_extracted, cache=folder / "cache", batch_size=1))
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    settings = TrainConfig(
        folder / "cache", folder / "run", head="pixel", text="true", epochs=12, device="cpu", **sizes, **rates
    )
    train_head(settings)
    return settings.run


@pytest.fixture
def run(_trained, tmp_path):
    """A copy of the trained run."""
    return shutil.copytree(_trained, tmp_path / "run")


@pytest.fixture
def prediction(run, extraction, tmp_path):
    return PredictConfig(run, extraction.data.parent / "test0.png", tmp_path / "masks", device="cpu")


@pytest.mark.slow
def test_masks_have_the_images_size_and_the_masks_values(prediction, extraction):
    summary = predict(replace(prediction, text="the nuclei are round", probabilities=True))
    assert summary.masks == (str(prediction.out / "test0.png"),)
    mask = np.array(Image.open(prediction.out / "test0.png"))
    assert mask.shape == (20, 24)
    assert set(np.unique(mask)) == {0, 255}
    truth = np.array(Image.open(extraction.data.parent / "test0_mask.png")) > 0
    everything = 2 * 64 / (64 + 20 * 24)  # the Dice of marking every pixel
    assert 2 * (truth & (mask > 0)).sum() / (truth.sum() + (mask > 0).sum()) > 2 * everything
    probabilities = np.load(prediction.out / "test0.npy")
    assert probabilities.shape == (2, 20, 24)
    assert probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities.astype(np.float32).sum(0), 1, atol=2e-3)
    decided = probabilities[1] != probabilities[0]  # float16 makes ties that the mask's float32 had not
    np.testing.assert_array_equal((probabilities[1] > probabilities[0])[decided], (mask > 0)[decided])


def test_a_folder_is_segmented_with_a_table_of_texts(prediction, extraction, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("val0.png", "val1.png"):
        (folder / name).write_bytes((extraction.data.parent / name).read_bytes())
    table = tmp_path / "texts.csv"
    table.write_text("Image,Description\nval0.png,the nuclei are round\n")
    with pytest.raises(DataError, match=r"no row for val1\.png; add one"):
        predict(replace(prediction, images=folder, texts=table))
    assert not prediction.out.exists()
    table.write_text("Image,Description\nval0.png,the nuclei are round\nval1,not malignant\n")
    predict(replace(prediction, images=folder, texts=table))
    assert sorted(path.name for path in prediction.out.iterdir()) == [
        "command.json",
        "predictions.json",
        "val0.png",
        "val1.png",
    ]


def test_images_of_a_folder_are_taken_by_content_and_the_rest_is_named(prediction, extraction, tmp_path, caplog):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("val0", "val1.dat"):
        (folder / name).write_bytes((extraction.data.parent / "val0.png").read_bytes())
    (folder / "a.xcf").write_bytes(b"gimp xcf v011")
    (folder / "Thumbs.db").write_bytes(b"of Windows")
    masks = predict(replace(prediction, images=folder)).masks
    assert [path.rpartition("/")[2] for path in masks] == ["val0.png", "val1.dat.png"]
    assert [line for line in caplog.messages if "left out" in line] == [
        f"{folder}: left out: a.xcf (no image that is read)"
    ]


@pytest.mark.slow
def test_the_record_says_of_each_mask_what_it_is_of(prediction, extraction):
    images = extraction.data.parent
    predict(replace(prediction, images=images / "val0.png", text="the nuclei are round", probabilities=True))
    predict(replace(prediction, images=images / "val1.png", text="not malignant"))
    predict(replace(prediction, images=images / "val0.png", text=None))
    record = json.loads((prediction.out / "predictions.json").read_bytes())["masks"]
    assert {name: about["text"] for name, about in record.items()} == {"val0": None, "val1": "not malignant"}
    assert {json.dumps(about["classes"]) for about in record.values()} == {'{"0": "background", "255": "foreground"}'}
    assert {about["run"] for about in record.values()} == {str(prediction.run.resolve())}
    assert sorted(path.name for path in prediction.out.iterdir()) == [
        "command.json",
        "predictions.json",
        "val0.png",
        "val1.png",
    ]


def test_the_python_api_takes_pixels_and_refuses_what_is_no_image(run):
    segmenter = Segmenter.load(run, device="cpu")
    image = np.full((30, 10, 3), 40, np.uint8)
    found = segmenter.predict(image)
    assert found.mask.shape == (30, 10)
    assert found.probabilities.shape == (2, 30, 10)
    with pytest.raises(
        DataError, match=r"image is uint8 \(30, 10, 2\); expected uint8 \(y, x, 3\), RGB, or \(y, x\), grey"
    ):
        segmenter.predict(image[..., :2])


def test_a_run_may_be_told_where_its_models_are_and_refuses_others(run, prediction, tiny_unet, tmp_path):
    from shutil import copytree

    copytree(tiny_unet, tmp_path / "moved")
    predict(replace(prediction, unet=f"diffusers:{tmp_path / 'moved'}"))
    from diffusers import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(tmp_path / "moved")
    with torch.no_grad():
        pipeline.unet.conv_in.bias.add_(1)
    pipeline.save_pretrained(tmp_path / "moved")
    with pytest.raises(SourceError, match="not the UNet that made the cached features"):
        predict(replace(prediction, unet=f"diffusers:{tmp_path / 'moved'}"))


def test_no_file_is_ever_replaced_by_a_mask(prediction):
    images = prediction.images.parent
    before = prediction.images.read_bytes()
    with pytest.raises(DataError, match="masks would replace files that stand there"):
        predict(replace(prediction, out=images))
    assert prediction.images.read_bytes() == before


def test_two_images_of_one_name_are_refused(prediction, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (20, 20)).save(folder / name)
    with pytest.raises(DataError, match="these names stand for several images"):
        predict(replace(prediction, images=folder))


def test_a_mask_is_never_taken_for_the_uncertainty_map_of_another(prediction, tmp_path):
    for name in ("a_uncertainty", "a"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / name / f"{name}.png")
    predict(replace(prediction, images=tmp_path / "a_uncertainty"))
    mask = (prediction.out / "a_uncertainty.png").read_bytes()
    with pytest.raises(DataError, match="files of other predictions have these names"):
        predict(replace(prediction, images=tmp_path / "a", uncertainty=True))
    assert (prediction.out / "a_uncertainty.png").read_bytes() == mask


def test_texts_given_twice_are_refused(prediction, tmp_path):
    with pytest.raises(ConfigError, match="--text and --texts were both given"):
        replace(prediction, text="a", texts=tmp_path / "texts.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "noyaux ronds dans la moitié",
            "seems not to be in English (French): the views that --tta adds are shown",
        ),
        ("runde Kerne links", "1 of 2 views; its text cannot be rewritten"),
    ],
)
def test_views_of_texts_in_other_languages_are_warned_of(prediction, caplog, text, expected):
    predict(replace(prediction, text=text, tta=2))
    assert [line for line in caplog.messages if expected in line]


@pytest.mark.slow
def test_views_are_averaged_in_the_images_own_place_each_with_its_text(prediction, run, extraction):
    image = np.array(Image.open(extraction.data.parent / "test0.png").resize((16, 16)))
    text = "spindle nuclei in the upper half"
    segmenter = Segmenter.load(run, device="cpu")
    alone = [segmenter.predict(turn(image, view), rewrite_sides(text, view)).probabilities for view in range(8)]
    upright = [turn_back(torch.from_numpy(one), view).numpy() for view, one in enumerate(alone)]
    together = segmenter.predict(image, text, tta=8)
    np.testing.assert_allclose(together.probabilities, np.mean(upright, 0), atol=1e-5)
    assert np.abs(together.probabilities - alone[0]).max() > 1e-3
    np.testing.assert_array_equal(together.mask > 0, together.probabilities[1] > together.probabilities[0])


def test_tta_is_recorded_and_views_that_a_text_has_not_are_left_out(prediction, caplog):
    predict(replace(prediction, text="the left lung, not round on the right", tta=4))
    record = json.loads((prediction.out / "predictions.json").read_text(encoding="utf-8"))
    text = "the left lung, not round on the right"
    (about,) = record["masks"].values()
    assert (about["run"], about["text"], about["tta"], about["uncertainty"]) == (
        str(prediction.run.resolve()),
        text,
        4,
        None,
    )
    unknown, fewer = caplog.messages
    assert unknown.startswith(f"{text!r}: 2 of its 9 tokens are unknown to hf:")
    assert fewer == (
        "test0.png: 2 of 4 views; its text cannot be rewritten for the others (docs/views.md says which can)"
    )
    with pytest.raises(ConfigError, match="--tta got 6; expected 1, 2, 4 or 8"):
        replace(prediction, tta=6)


def test_a_text_that_is_too_long_once_rewritten_is_refused_before_any_model_runs(prediction, monkeypatch):
    monkeypatch.setattr("textdiff.pipeline.extraction.loading.load_unet", lambda *_, **__: pytest.fail("loaded"))
    text = "above the half " + "the nuclei " * 13
    with pytest.raises(DataError, match=r"'to the left of the half .*: 34 tokens; shorten it to 32"):
        predict(replace(prediction, text=text.strip(), tta=8))
