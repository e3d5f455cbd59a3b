"""Runs that were trained on encoders: `predict` and `explain` find them again, and only those that they need."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from textdiff import Segmenter
from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheMismatchError, ConfigError, SourceError
from textdiff.pipeline.config.prediction import ExplainConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.explanation.explain import explain
from textdiff.pipeline.extraction import loading
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.runs.compatibility import check_same_features
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.train import train_head
from textdiff.stages.features.sampling import FILTERS


@pytest.fixture
def encoder(tiny_dinov2, tmp_path):
    """A copy of the tiny DINOv2, to be moved."""
    return shutil.copytree(tiny_dinov2, tmp_path / "tiny_dinov2")


@pytest.fixture
def cached(extraction, encoder):
    """Settings of an extraction with a UNet and an encoder, carried out."""
    config = replace(extraction, encoder=(f"hf:{encoder}",), encoder_layers=((0, 2),))
    extract_features(config)
    return config


@pytest.fixture
def training(cached, tmp_path):
    """Of a head that sees one layer alone."""
    sizes = {"width": 16, "n_attention_heads": 2, "epochs": 1, "device": "cpu"}
    return TrainConfig(cached.cache, tmp_path / "run", head="pixel", text="true", sources=("tiny_dinov2/2",), **sizes)


def test_only_the_models_that_the_head_sees_are_loaded(training, cached, monkeypatch):
    train_head(training)
    monkeypatch.setattr(loading, "load_unet", None)
    prediction = Segmenter.load(training.run, device="cpu").predict(cached.data.parent / "val0.png", "round nuclei")
    assert prediction.mask.shape == (20, 24)
    config = RunConfig.read(training.run)
    assert (config.blocks, config.layers, config.features.unet) == ((), ("tiny_dinov2/2",), None)
    assert config.train["sources"] == ["tiny_dinov2/2"]


def test_an_encoder_that_was_moved_is_known_by_its_digest(training, cached, encoder, tmp_path, tiny_timm):
    train_head(training)
    image = cached.data.parent / "val0.png"
    before = Segmenter.load(training.run, device="cpu").predict(image).probabilities
    moved = encoder.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match=r"if the encoder tiny_dinov2 was moved, give its place with --encoder"):
        Segmenter.load(training.run, device="cpu").predict(image)
    with pytest.raises(SourceError, match="give its place with --encoder"):
        Segmenter.load(training.run, encoder=[tiny_timm], device="cpu").predict(image)
    after = Segmenter.load(training.run, encoder=[f"hf:{moved}"], device="cpu").predict(image).probabilities
    np.testing.assert_array_equal(after, before)


def test_explain_runs_the_encoder(training, cached):
    train_head(training)
    summary = explain(
        ExplainConfig(training.run, cached.data.parent / "val0.png", "the nuclei are round", device="cpu")
    )
    assert len(summary.to_dict()["words"]) == 4


def test_a_run_and_a_cache_with_other_encoders_do_not_go_together(training, cached, extraction, tmp_path):
    train_head(training)
    run = RunConfig.read(training.run)
    check_same_features(run, FeatureReader(cached.cache))
    other = replace(extraction, cache=tmp_path / "other")
    extract_features(other)
    with pytest.raises(CacheMismatchError, match="encoder tiny_dinov2: the cache has none, the head needs hf:"):
        check_same_features(run, FeatureReader(other.cache))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ("tiny_dinov2/1",)}, r"has no tiny_dinov2/1; it has unet, tiny_dinov2, filters \(layers tiny_din"),
        ({"sources": ("resnet",)}, "has no resnet; it has unet, tiny_dinov2, filters"),
        ({"sources": ()}, "--sources got nothing; expected names, each once"),
        ({"sources": ("unet", "unet")}, "--sources got unet,unet; expected names, each once"),
        ({"sources": ("filters",), "filters": False}, "--sources names filters, which --no-filters and --head paper"),
        ({"sources": ("tiny_dinov2",), "blocks": (1,)}, "--blocks was given, and --sources leaves the UNet out"),
    ],
)
def test_sources_that_are_not_there_or_contradict_are_refused(training, change, message):
    with pytest.raises((CacheMismatchError, ConfigError), match=message):
        train_head(replace(training, **change))
    assert not training.run.exists()


def test_heads_see_all_that_is_cached_by_default(training):
    train_head(replace(training, sources=None))
    config = RunConfig.read(training.run)
    assert config.sources == ("unet", "tiny_dinov2/0", "tiny_dinov2/2")
    assert {*config.head.channels} == {1, 3, "tiny_dinov2/0", "tiny_dinov2/2", FILTERS}
