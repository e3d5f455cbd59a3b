"""Functions take their settings as keywords or a config: the same config, one error of all that is wrong, full help."""

import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import textdiff as td
from textdiff.cache.storage.location import location
from textdiff.errors import ConfigError
from textdiff.pipeline import config as configs
from textdiff.pipeline.config.presets import preset_settings
from textdiff.pipeline.config.values import read_config, to_dict
from textdiff.pipeline.interface import functions
from textdiff.pipeline.interface.settings import takes_settings
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.runtime.results import Result


class Taken(Result):
    """What a function was given."""

    def __init__(self, config, progress):
        self.config, self.progress = config, progress


@takes_settings(configs.TrainConfig)
def train(config, progress):
    """Train."""
    return Taken(config, progress)


@takes_settings(configs.ExtractConfig)
def extract(config, progress):
    """Extract."""
    return Taken(config, progress)


def test_text_lists_and_numpy_numbers_become_what_the_config_has():
    taken = extract("data", "cache", timesteps=[np.int64(5), 50], encoder="timm:x", encoder_layers=[[0, 1]], seed=7)
    expected = configs.ExtractConfig(
        Path("data"), Path("cache"), timesteps=(5, 50), encoder=("timm:x",), encoder_layers=((0, 1),), seed=7
    )
    assert taken.config == expected
    assert all(type(one) is int for one in taken.config.timesteps)


def test_a_ready_config_is_taken_as_it_is():
    config = configs.TrainConfig(Path("cache"), Path("run"), epochs=3)
    assert train(config).config is config
    assert train(config=config).config is config
    assert train("cache", "run", epochs=3).config == config
    assert train(cache="cache", run="run", epochs=3).config == config


@pytest.mark.parametrize("settings", [{"epochs": 1}, {"preset": "skin"}])
def test_a_ready_config_beside_settings_is_refused(settings):
    with pytest.raises(TypeError, match=r"train\(\) takes a ready TrainConfig alone; .* dataclasses.replace"):
        train(configs.TrainConfig("cache", "run"), **settings)


def test_a_config_takes_plain_values_as_functions_do():
    plain = configs.TrainConfig("cache", "run", blocks=np.array([1, 3]), epochs=np.int64(3), position=np.False_)
    assert plain == configs.TrainConfig(Path("cache"), Path("run"), blocks=(1, 3), epochs=3, position=False)
    assert (type(plain.epochs), type(plain.position)) == (int, bool)


def test_a_config_refuses_values_of_other_types_together():
    with pytest.raises(ConfigError) as refused:
        configs.TrainConfig("cache", None, epochs=1.5, blocks="1,3", head=["pixel"])
    assert str(refused.value).splitlines() == [
        "--run got None; expected a path",
        "--head got ['pixel']; expected one of auto, pixel, context, paper",
        "--blocks got '1,3'; expected several values, each a whole number",
        "--epochs got 1.5; expected a whole number",
    ]


def test_a_url_stays_one():
    assert train("file:///a/b", "run").config.cache == location("/a/b")


@pytest.mark.parametrize("wanted", [True, False])
def test_progress_is_shown_where_it_is_asked_for(wanted, capsys):
    train("cache", "run", progress=wanted).progress.say("half")
    assert capsys.readouterr().err == "half\n" * wanted


@pytest.mark.parametrize("wanted", [True, False, None])
def test_warnings_are_shown_or_logged_but_never_lost(wanted, capsys, caplog):
    train("cache", "run", progress=wanted).progress.warn("half")
    assert capsys.readouterr().err == ("warning: half\n" if wanted else "")
    logged = [(record.name, record.levelname, record.message) for record in caplog.records]
    assert logged == ([] if wanted else [("textdiff", "WARNING", "half")])


def test_progress_is_shown_nowhere_by_default_and_a_progress_is_passed_on(capsys):
    train("cache", "run").progress.say("half")
    assert capsys.readouterr().err == ""
    own = Progress()
    assert train("cache", "run", progress=own).progress is own


def test_a_preset_sets_what_is_not_given():
    taken = extract("data", "cache", unet="diffusers:unet", preset="histology", image_size=64).config
    assert taken.colours == preset_settings("histology", configs.ExtractConfig)["colours"] == "standardised"
    assert taken.image_size == 64


def test_all_values_of_another_type_are_one_error():
    with pytest.raises(ConfigError) as caught:
        train("cache", "run", epochs="ten", blocks=5, filters=1, minutes=True, head=None)
    assert str(caught.value).splitlines() == [
        "--head got None; expected one of auto, pixel, context, paper",
        "--minutes got True; expected a number",
        "--blocks got 5; expected several values, each a whole number",
        "--filters got 1; expected true or false",
        "--epochs got 'ten'; expected a whole number",
    ]


def test_all_values_that_the_config_refuses_are_one_error():
    with pytest.raises(ConfigError) as caught:
        train("cache", "run", epochs=0, head="cnn")
    assert str(caught.value).splitlines() == [
        "--head got 'cnn'; expected one of auto, pixel, context, paper",
        "--epochs got 0; expected at least 1",
    ]


def test_an_unknown_preset_is_one_error():
    with pytest.raises(ConfigError, match=r"--preset got 'organs'; expected one of histology, .*"):
        extract("data", "cache", preset="organs")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, r"train\(\) got an unexpected keyword argument 'epoch'; did you mean 'epochs'\?"),
        ({"zzzz": 3}, r"train\(\) got an unexpected keyword argument 'zzzz'; see help\(textdiff.train\)"),
        ({"cache": "other"}, r"train\(\) multiple values for argument 'cache'; see help\(textdiff.train\)"),
    ],
)
def test_a_call_that_does_not_fit_is_a_type_error(given, message):
    with pytest.raises(TypeError, match=message):
        train("cache", "run", **given)
    with pytest.raises(TypeError, match=r"train\(\) missing a required argument: 'run'"):
        train("cache")


@pytest.mark.parametrize("function", functions.COMMANDS, ids=functions.command_name)
def test_every_setting_is_explained_and_in_the_signature(function):
    parameters = inspect.signature(function).parameters
    names = {field.name for field in fields(function.config)}
    assert names <= parameters.keys() <= names | {"preset", "progress"}
    for name in parameters:
        assert f"\n    {name}: " in function.__doc__
    assert getattr(td, function.__name__) is function


@pytest.mark.parametrize(
    "config",
    [
        configs.TrainConfig(Path("cache"), Path("run"), timesteps=(5, 50), minutes=2.0, sources=("unet",)),
        configs.MergeConfig(Path("out"), (Path("a"), Path("b"))),
        configs.ManifestConfig(Path("images"), split=(0.8, 0.1, 0.1), text_columns=("a", "b")),
        configs.PredictConfig(run=Path("r"), images=Path("i"), out=Path("o"), formats=("png", "coco")),
    ],
)
def test_plain_values_and_back(config):
    assert read_config(type(config), to_dict(config)) == config
