"""Presets: one name for every step, under the flags that are given."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from textdiff import cli
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.config.presets import PRESETS, ImageKind, preset_settings
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.config.unets import PretrainConfig

GIVEN = {
    ExtractConfig: {"data": Path("d"), "cache": "c", "unet": "diffusers:u"},
    TrainConfig: {"cache": "c", "run": Path("r")},
    PretrainConfig: {"images": Path("d"), "out": Path("u")},
}


def built(config, **flags):
    return cli._build(config, {**GIVEN[config], **flags})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_config_of_every_step_that_it_concerns(name):
    for config in PRESETS[name]:
        assert built(config, preset=name) == replace(built(config), **preset_settings(name, config))


@pytest.mark.parametrize("name", get_args(ImageKind))
def test_presets_of_images_agree_between_the_steps_and_choose_no_model(name):
    assert PRESETS[name][PretrainConfig] == PRESETS[name][ExtractConfig]
    assert set(PRESETS[name][ExtractConfig]) == {"image_size", "colours"}
    assert set(PRESETS[name][TrainConfig]) == {"position"}


def test_a_given_flag_wins_over_the_preset_even_where_it_is_the_default():
    assert not built(TrainConfig, preset="histology").position
    assert built(TrainConfig, preset="histology", position=True).position
    assert built(ExtractConfig, preset="histology", colours="own", image_size=256).colours == "own"


def test_a_preset_that_does_not_concern_a_step_changes_nothing_there():
    assert built(TrainConfig, preset="demo") == built(TrainConfig)


def test_the_papers_presets_are_the_papers():
    monuseg, qata = (built(ExtractConfig, preset=name) for name in ("monuseg", "qata"))
    assert (monuseg.blocks, monuseg.timesteps, monuseg.seed) == ((6, 8, 12, 16), (50, 150, 250), 40)
    assert replace(monuseg, blocks=(4, 6, 8, 12)) == qata
    assert built(TrainConfig, preset="qata").head == "paper"
