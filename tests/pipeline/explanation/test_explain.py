"""The `explain` command: equal to predicting with other words, whole or in tiles, live or cached; files; refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from textdiff import explain
from textdiff.cache.reader import FeatureReader
from textdiff.config import ExplainConfig
from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.config.prediction import ModelOverrides
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.explanation import explain as explaining
from textdiff.pipeline.explanation.measure import explain_sample
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.prediction.segmenter import BandSegmenter
from textdiff.pipeline.runs.compatibility import open_as_trained
from textdiff.pipeline.training.train import train_head

TEXT, OTHER = "the nuclei are round", "spindle nuclei in the upper half"
LEFT = {"the": "nuclei are round", "nuclei": "the are round", "are": "the nuclei round", "round": "the nuclei are"}


def train(extraction, tmp_path, *, text="true", **stored):
    extract_features(replace(extraction, batch_size=1, **stored))
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "learning_rate": 1e-2}
    settings = TrainConfig(extraction.cache, tmp_path / "run", head="pixel", epochs=4, text=text, device="cpu", **sizes)
    train_head(settings)
    return settings.run


@pytest.fixture
def run(extraction, tmp_path):
    """A run whose cache was made one image at a time, as explaining works."""
    return train(extraction, tmp_path)


@pytest.fixture
def asked(run, extraction, tmp_path):
    return ExplainConfig(run, extraction.data.parent / "test0.png", TEXT, out=tmp_path / "out", device="cpu")


def loaded(run):
    return BandSegmenter.load(run, ModelOverrides(device="cpu"))


def log_odds(probabilities):
    p = probabilities.astype(np.float64)
    return np.log(p[1] / p[0])


@pytest.mark.slow
def test_an_effect_is_the_prediction_less_that_without_the_word_and_the_unet_runs_once(asked, run, monkeypatch):
    from textdiff.pipeline.extraction.feature_extractor import FeatureExtractor

    image, segmenter = np.array(Image.open(asked.image).resize((16, 16))), loaded(run)
    alone = {
        text: segmenter.predict(segmenter.request(image, text)).probabilities for text in (TEXT, OTHER, *LEFT.values())
    }
    forwards, record = [], FeatureExtractor.record
    monkeypatch.setattr(
        FeatureExtractor,
        "record",
        lambda stage, batch, *rest: forwards.append(len(batch.ids)) or record(stage, batch, *rest),
    )
    explanation = explaining.explain_image(segmenter, segmenter.request(image).image, TEXT, versus=OTHER)
    assert forwards == [1]
    for word, effect in zip(explanation.words, explanation.effects, strict=True):
        expected = log_odds(alone[TEXT]) - log_odds(alone[LEFT[word.text]])
        np.testing.assert_allclose(effect, expected, atol=1e-4)
    assert max(np.abs(effect).max() for effect in explanation.effects) > 0.01
    np.testing.assert_allclose(explanation.probability, alone[TEXT][1], atol=1e-5)
    np.testing.assert_allclose(explanation.versus.probability, alone[OTHER][1], atol=1e-5)
    np.testing.assert_allclose(explanation.attention.sum(1) + explanation.attention_elsewhere, 1, atol=1e-5)
    assert explanation.attention_names == ("head 1", "head 2")


@pytest.mark.slow
def test_a_cached_sample_is_explained_as_its_image_is(asked, run, extraction):
    segmenter, reader = loaded(run), FeatureReader(extraction.cache)
    (row,) = reader.split("test")
    data = open_as_trained(segmenter.config, reader, "true", "cpu")
    cached = explain_sample(segmenter.head, data, row, segmenter.texts.encoder, TEXT, versus=OTHER)
    live = explaining.explain_image(segmenter, segmenter.open(asked.image), TEXT, versus=OTHER, sample_id="test0")
    np.testing.assert_allclose(cached.effects, live.effects, atol=1e-4)
    np.testing.assert_allclose(cached.attention, live.attention, atol=1e-5)
    np.testing.assert_array_equal(cached.image, live.image)
    assert cached.ranked()[0].label == live.ranked()[0].label


@pytest.mark.slow
def test_tiles_are_blended_as_predictions_are(extraction, tmp_path):
    run = train(extraction, tmp_path, tile=16, tile_overlap=6)
    segmenter, image = loaded(run), extraction.data.parent / "test0.png"
    explanation = explaining.explain_image(segmenter, segmenter.open(image), TEXT)
    assert explanation.effects.shape == (4, 20, 24)
    np.testing.assert_array_equal(explanation.image, np.array(Image.open(image)))
    predicted = segmenter.predict(segmenter.request(image, TEXT))
    np.testing.assert_allclose(explanation.probability, predicted.probabilities[1], atol=1e-5)
    decided = np.abs(predicted.probabilities[1] - 0.5) > 1e-4  # of two computations each rounds for itself
    np.testing.assert_array_equal(explanation.mask[decided], predicted.mask[decided] > 0)
    np.testing.assert_allclose(explanation.attention.sum(1) + explanation.attention_elsewhere, 1, atol=1e-5)


@pytest.mark.slow
def test_files_and_figures_say_the_same_and_an_explanation_replaces_the_last(asked, extraction):
    mask = extraction.data.parent / "test0_mask.png"
    summary = explain(replace(asked, versus=OTHER, mask=mask, arrays=True))
    written = json.loads((asked.out / "explanation.json").read_bytes())
    assert written == json.loads(json.dumps(summary.to_dict()))
    assert [one["label"] for one in written["words"]] == [one.label for one in summary.explanation.ranked()]
    assert set(written["dice"]) == {"text_truth", "versus_truth", "text_versus"}
    with np.load(asked.out / "effects.npz") as file:
        arrays = dict(file)
    i = written["words"][0]["index"]
    assert arrays["words"][i] == written["words"][0]["label"]
    changed = np.abs(arrays["effects"][i])
    inside = changed[arrays["mask"]].mean() if written["inside_is"] == "mask" else changed.mean()
    assert written["words"][0]["change_inside"] == pytest.approx(inside, rel=1e-5)
    with Image.open(asked.out / "explanation.png") as picture:
        assert picture.size[0] > 1000
    lines = summary.lines()
    assert f"Dice with the true mask: {written['dice']['text_truth']:.4f}" in lines
    explain(asked)
    assert sorted(path.name for path in asked.out.iterdir()) == ["command.json", "explanation.json", "explanation.png"]


@pytest.mark.slow
def test_a_mask_is_compared_with_the_truth_at_the_size_of_the_head(asked, run, tmp_path):
    segmenter = loaded(run)
    explanation = explaining.explain_image(segmenter, segmenter.open(asked.image), TEXT, sample_id="test0")
    rows, columns = (2 * np.arange(20) + 1) * 16 // 40, (2 * np.arange(24) + 1) * 16 // 48
    Image.fromarray(explanation.mask[np.ix_(rows, columns)].astype(np.uint8)).save(tmp_path / "truth.png")  # 0 and 1
    assert explain(replace(asked, mask=tmp_path / "truth.png", out=None)).dice == {"text_truth": 1.0}


@pytest.mark.slow
def test_nothing_is_left_of_an_explanation_that_was_interrupted(asked, monkeypatch):
    files, write = [], explaining.write_durably

    def interrupted(path, pieces):
        if files:
            raise KeyboardInterrupt
        files.append(path)
        write(path, pieces)

    monkeypatch.setattr(explaining, "write_durably", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explain(asked)
    assert files
    assert not asked.out.exists()


@pytest.mark.slow
def test_what_cannot_be_used_is_refused_before_any_model_is_loaded(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("textdiff.pipeline.extraction.loading.load_unet", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "explanation.png").touch()
    Image.new("L", (5, 4)).save(tmp_path / "small.png")
    Image.new("L", (24, 20), 7).save(tmp_path / "seven.png")
    for change, message in (
        ({"out": tmp_path / "file"}, "file is a file; give a folder"),
        ({"out": tmp_path / "foreign"}, "holds explanation.png of something else; give another folder"),
        ({"image": asked.image.parent}, "holds 16 images, and one is explained at a time; name one of them"),
        ({"image": tmp_path / "none.png"}, "none.png does not exist"),
        ({"mask": tmp_path / "small.png"}, "small.png has 4×5 pixels; expected the image's 20×24"),
        ({"mask": tmp_path / "seven.png"}, "seven.png: the mask holds undeclared values 7"),
        ({"versus": "round " * 40}, "tokens; shorten it to 32"),
        ({"text": "..."}, "has no words to explain"),
    ):
        with pytest.raises(DataError, match=message):
            explain(replace(asked, **change))
    with pytest.raises(ConfigError, match="--target got 'x'; expected one of the run's classes: background, fore"):
        explain(replace(asked, target="x"))
    monkeypatch.setattr(explaining, "MAX_BYTES", 10_000)
    with pytest.raises(DataError, match=r"the image has 16×16 pixels and 16 maps of it take .* cut out the part"):
        explain(asked)


@pytest.mark.slow
def test_a_head_without_texts_has_no_words_to_explain(extraction, tmp_path):
    run = train(extraction, tmp_path, text="none")
    with pytest.raises(ConfigError, match="the head was trained without texts"):
        explain(ExplainConfig(run, extraction.data.parent / "test0.png", TEXT, device="cpu"))


def test_settings_that_contradict_themselves_are_refused_together(tmp_path):
    with pytest.raises(ConfigError) as error:
        ExplainConfig(tmp_path, tmp_path, " ", versus="", arrays=True)
    assert [line.split(" ")[0] for line in str(error.value).splitlines()] == ["--text", "--versus", "--arrays"]
