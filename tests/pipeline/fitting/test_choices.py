"""Decisions of a fit: what is given wins, then the preset, then the data and the machine."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from textdiff.pipeline.config.fitting import FitConfig
from textdiff.pipeline.config.unets import PretrainConfig
from textdiff.pipeline.fitting import choices
from textdiff.pipeline.unets import pretrain


def config(**settings):
    return FitConfig(Path("data"), Path("out"), **settings)


def report(sizes, n_texts=0):
    return SimpleNamespace(sizes=sizes, n_samples=sum(sizes.values()), n_texts=n_texts)


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setattr(choices, "installed", lambda source: False)


@pytest.mark.parametrize(
    ("settings", "sizes", "size"),
    [
        ({"image_size": 100, "preset": "xray"}, {(1000, 1000): 30}, 100),
        ({"preset": "xray"}, {(1000, 1000): 30}, 256),
        ({}, {(1000, 1200): 30}, 512),
        ({}, {(1000, 1200): 501}, 256),
        ({}, {(300, 400): 3, (290, 900): 2, (2000, 2000): 4}, 288),
        ({}, {(20, 24): 7}, 32),
    ],
)
def test_the_image_size_is_that_given_of_the_preset_or_of_the_typical_image(settings, sizes, size):
    assert choices.choose_image_size(config(**settings), report(sizes))[0] == size


def test_given_models_win_then_the_packaged_encoder_then_pretraining(monkeypatch):
    monkeypatch.setattr(choices, "installed", lambda source: True)
    assert choices.choose_source(config(unet="diffusers:u", encoder=("hf:e",))) == ("given", "diffusers:u, hf:e")
    assert choices.choose_source(config())[0] == choices.IMAGE_ENCODER
    monkeypatch.setattr(choices, "installed", lambda source: False)
    assert choices.choose_source(config())[0] == "pretrain"


def test_texts_need_an_encoder_that_is_there(bare, monkeypatch):
    images = {(64, 64): 4}
    assert choices.choose_text_encoder(config(text_encoder="hf:e"), report(images))[0] is None
    assert choices.choose_text_encoder(config(text_encoder="hf:e"), report(images, 3))[0] == "hf:e"
    value, reason = choices.choose_text_encoder(config(), report(images, 3))
    assert value == "left out"
    assert reason.startswith("of 3 texts")
    monkeypatch.setattr(choices, "installed", lambda source: True)
    assert choices.choose_text_encoder(config(), report(images, 3))[0] == choices.TEXT_ENCODER


@pytest.mark.parametrize(("minutes", "steps"), [(None, PretrainConfig.steps), (0.1, 100), (10, 400), (1000, 3000)])
def test_pretraining_takes_a_third_of_the_minutes_within_limits(monkeypatch, minutes, steps):
    monkeypatch.setattr(pretrain, "seconds_per_step", lambda pretraining: 0.5)
    pretraining = PretrainConfig(Path("data"), Path("unet"))
    assert choices.choose_steps(config(minutes=minutes), pretraining)[0] == steps


def test_training_has_the_minutes_that_are_left():
    assert choices.choose_minutes(config(), 100.0)[0] is None
    assert choices.choose_minutes(config(minutes=10.0), 120.0)[0] == pytest.approx(6.5)
    assert choices.choose_minutes(config(minutes=1.0), 120.0)[0] == choices.LEAST_MINUTES


@pytest.mark.parametrize(
    ("labelled", "split"),
    [(["train", "val", "test"], "test"), (["train", "val"], "val"), (["train"], None)],
)
def test_the_test_split_is_scored_where_it_has_labels(monkeypatch, labelled, split):
    rows = [SimpleNamespace(split=name) for name in ("train", "val", "test")]
    monkeypatch.setattr(choices, "originals", lambda samples: samples)
    monkeypatch.setattr(choices, "has_labels", lambda reader, row: row.split in labelled)
    assert choices.choose_split(SimpleNamespace(samples=rows))[0] == split
