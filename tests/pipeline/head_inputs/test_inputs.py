"""What a head is shown of a cache: each row's own text, as it reads in the row's view."""

from dataclasses import replace

import pytest
from feature_source import FeatureSourceTests

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.runs.compatibility import open_as_trained


class TestCachedFeatures(FeatureSourceTests):
    def open(self, run):
        return open_as_trained(run.config, run.reader, run.config.train["text"], "cpu")

    def rows_of(self, run, source, rows):
        return rows


@pytest.fixture
def viewed(extraction):
    """A cache whose training images are there in 8 views; train2's text names the upper half."""
    extract_features(replace(extraction, views=8))
    return FeatureReader(extraction.cache)


def shown_texts(reader, text):
    data = open_head_data(reader, blocks=None, timesteps=None, text=text, seed=0, device="cpu")
    return {
        row.id: None if (place := data.text_of[row.id]) is None else reader.table.texts[place] for row in reader.samples
    }


def test_each_view_is_shown_its_own_text(viewed):
    shown = shown_texts(viewed, "true")
    assert shown["train2"] == "spindle nuclei in the upper half"
    assert shown["train2~2"] == "spindle nuclei in the lower half"
    assert shown["train2~4"] == "spindle nuclei in the left half"


def test_a_shuffled_text_is_one_of_another_image_and_turned_with_the_view(viewed):
    own, shuffled = shown_texts(viewed, "true"), shown_texts(viewed, "shuffled")
    taker = next(row.id for row in viewed.samples if row.view == 0 and shuffled[row.id] == own["train2"])
    assert taker != "train2"
    assert shuffled[f"{taker}~2"] == "spindle nuclei in the lower half"


@pytest.mark.slow
def test_no_text_is_no_text_in_any_view(viewed):
    assert set(shown_texts(viewed, "none").values()) == {None}


def test_features_that_know_the_texts_cannot_go_without_them(extraction, tiny_stable_diffusion):
    config = replace(
        extraction, unet=f"stable-diffusion:{tiny_stable_diffusion}", image_size=32, blocks=(0,), condition="own"
    )
    table = config.data.read_text(encoding="utf-8")
    for long in ("the nuclei are round", "the nuclei are not round", "spindle nuclei in the upper half"):
        table = table.replace(long, "in a")
    config.data.write_text(table, encoding="utf-8")
    extract_features(config)
    reader = FeatureReader(config.cache)
    for text in ("none", "shuffled"):
        with pytest.raises(ConfigError, match=f"--text {text}: .* was made with --condition own"):
            open_head_data(reader, blocks=None, timesteps=None, text=text, seed=0, device="cpu")
    assert open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu").blocks == (0,)
