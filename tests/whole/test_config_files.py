"""`--config FILE` for every command: the file that a command leaves gives its config again."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
from typer.testing import CliRunner

import textdiff as td
from textdiff import cli
from textdiff.cache.storage.location import location
from textdiff.pipeline import config as configs
from textdiff.pipeline.config.command_line import command_json, command_line, read_command
from textdiff.pipeline.interface.functions import COMMANDS, command_name

P = Path
EXAMPLES = {
    "demo": configs.DemoConfig(P("my demo")),
    "fit": configs.FitConfig(P("d"), P("o"), minutes=3.5, encoder=("timm:x",)),
    "make-manifest": configs.ManifestConfig(P("i"), split=(0.5, 0.25, 0.25), text_columns=("File", "Finding")),
    "check-data": configs.CheckConfig(P("d"), window=(-100, 300), out=P("page.html")),
    "extract-features": configs.ExtractConfig(
        P("d"), location("c"), "diffusers:u", encoder=("timm:a", "hf:b"), encoder_layers=((0, 1), (2,)), filters=False
    ),
    "train-head": configs.TrainConfig(
        location("c"), P("r"), head="pixel", blocks=(1, 3), sources=("unet", "a/2"), filters=False, weight_decay=1
    ),
    "ablate-timesteps": configs.AblateConfig(location("c"), P("o"), subsets=((5,), (5, 50)), seeds=(3,)),
    "evaluate": configs.EvaluateConfig(P("r"), location("c"), at="native", tolerance=2.5, split="val"),
    "compare": configs.CompareConfig(P("a"), P("b"), location("c"), tta=4),
    "suggest": configs.SuggestConfig(location("c"), P("r"), n=3, out=P("next")),
    "label": configs.LabelConfig(P("d"), annotator="me-2"),
    "merge-labels": configs.MergeLabelsConfig((P("a"), P("b"), P("c")), P("o")),
    "predict": configs.PredictConfig(
        run=P("r"), images=P("i"), out=P("o"), formats=("png", "coco"), encoder=("timm:a",)
    ),
    "explain": configs.ExplainConfig(run=P("r"), image=P("i"), text='a "b" ü', versus="c"),
    "export-head": configs.ExportHeadConfig(P("r"), P("o.onnx")),
    "pretrain-unet": configs.PretrainConfig(P("i"), P("o"), steps=3),
    "convert-unet": configs.ConvertConfig(P("a.pt"), P("o"), config=P("flags.json")),
    "cache info": configs.CacheInfoConfig(location("c"), P("o.json")),
    "cache verify": configs.CacheVerifyConfig(location("c")),
    "cache export": configs.CacheExportConfig(location("c"), location("o.h5")),
    "cache merge": configs.MergeConfig(P("o"), (P("a"), P("b"))),
}


@pytest.fixture
def given(monkeypatch):
    """Gives `given(command, *words)`: the config that the command line makes of the words, or its message."""

    def run(command, *words):
        (function,) = [one for one in COMMANDS if command_name(one) == command]
        seen = []

        def stand_in(config, progress):
            seen.append(config)
            raise typer.Exit

        for name in ("config", "summary", "__name__"):
            setattr(stand_in, name, getattr(function, name))
        app = typer.Typer()
        app.command()(cli._callback(stand_in))
        result = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "300"})
        assert result.exit_code == (0 if seen else 2), result.stderr
        return seen[0] if seen else result.stderr

    return run


@pytest.mark.parametrize("command", [command_name(function) for function in COMMANDS])
def test_the_file_of_a_config_gives_it_again(command, given, tmp_path):
    config = EXAMPLES[command]
    (tmp_path / "command.json").write_text(command_json(command, config), encoding="utf-8")
    assert given(command, "--config", tmp_path / "command.json") == config


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_line_of_a_config_gives_it_again(command, given):
    words = shlex.split(command_line(command, EXAMPLES[command]))
    assert given(command, *words[1 + len(command.split()) :]) == EXAMPLES[command]


def test_words_come_before_the_file_and_the_file_before_a_preset(given, tmp_path):
    file = tmp_path / "few.json"
    file.write_text(json.dumps({"run": "r", "cache": "c", "epochs": 3, "position": True, "blocks": [1, 3]}))
    config = given("train-head", "--config", file, "--preset", "histology", "--epochs", "4")
    assert (config.epochs, config.position, config.blocks) == (4, True, (1, 3))
    assert not given("train-head", "c", "r", "--preset", "histology").position
    assert given("train-head", "--config", file, "other", "place").run == P("place")
    file.write_text(json.dumps({"preset": "histology"}))
    assert given("train-head", "c", "r", "--config", file) == given("train-head", "c", "r", "--preset", "histology")


def test_all_that_is_wrong_with_a_file_is_one_usage_error(given, tmp_path):
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"epoch": 3, "epochs": "three", "timesteps": 5}))
    message = " ".join(given("train-head", "c", "r", "--config", file).replace("│", " ").split())
    assert "--epoch is no setting of this command" in message
    assert "--epochs got 'three'; expected a whole number" in message
    assert "--timesteps got 5; expected several values, each a whole number" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"command": "evaluate"}', "is of `textdiff evaluate`; expected one of `textdiff train-head`"),
        ("[1]", "got list; expected an object of settings"),
        ("{", "is no JSON"),
        (None, "cannot be read (No such file or directory)"),
        ('{"preset": "mri"}', "--preset got 'mri'; expected one of"),
    ],
)
def test_a_file_that_is_no_settings_is_a_usage_error(given, tmp_path, content, message):
    file = tmp_path / "wrong.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert message in " ".join(given("train-head", "c", "r", "--config", file).replace("│", " ").split())


def test_an_argument_that_neither_gives_is_missed(given, tmp_path):
    file = tmp_path / "few.json"
    file.write_text('{"cache": "c"}', encoding="utf-8")
    assert "Missing argument 'run'" in given("train-head", "--config", file)


def test_flags_of_guided_diffusion_are_no_settings_of_the_command(given, tmp_path):
    flags = tmp_path / "flags.json"
    flags.write_text('{"num_channels": 128}', encoding="utf-8")
    assert given("convert-unet", "a.pt", "o", "--config", flags).config == flags


@pytest.fixture
def kept(tmp_path):
    """Gives `kept(place, command)`: the config of the file that a command left."""

    def read(place, command):
        (function,) = [one for one in COMMANDS if command_name(one) == command]
        return function.config(**read_command(tmp_path / place, command, function.config))

    return read


def file_in(report: Path) -> str:
    """The file that a page offers."""
    (address,) = re.findall(r'href="data:application/json,([^"]*)" download="command.json"', report.read_text("utf-8"))
    return unquote(address)


@pytest.mark.slow
def test_what_commands_leave_repeats_them(tiny_cache, tiny_data, tmp_path, kept):
    image, run, few = tiny_data.parent / "test0.png", tmp_path / "run", {"epochs": 1, "device": "cpu"}
    train = configs.TrainConfig(tiny_cache, run, text="true", precision="float32", **few)
    td.train_head(train)
    assert kept("run/command.json", "train-head") == train
    for head in ("pixel", "context"):
        there = f"run/candidates/{head}"
        candidate = replace(train, head=head, run=tmp_path / there)
        assert kept(f"{there}/command.json", "train-head") == candidate
        assert file_in(tmp_path / there / "report.html") == (tmp_path / there / "command.json").read_text("utf-8")
    evaluate = configs.EvaluateConfig(run, tiny_cache, split="val", device="cpu")
    evaluation = td.evaluate(evaluate)
    file = evaluation.path.with_name(f"command-{evaluation.path.name}")
    assert kept(file, "evaluate") == evaluate
    assert file_in(evaluation.report) == file.read_text("utf-8")
    ablate = configs.AblateConfig(tiny_cache, tmp_path / "ablation", subsets=((50,),), seeds=(0,), **few)
    td.ablate_timesteps(ablate)
    assert kept("ablation/command.json", "ablate-timesteps") == ablate
    assert file_in(tmp_path / "ablation" / "report.html") == command_json("ablate-timesteps", ablate)
    predict = configs.PredictConfig(run=run, images=image, out=tmp_path / "masks", device="cpu")
    td.predict(predict)
    assert kept("masks/command.json", "predict") == predict
    explain = configs.ExplainConfig(run=run, image=image, text="round nuclei", out=tmp_path / "why", device="cpu")
    td.explain(explain)
    assert kept("why/command.json", "explain") == explain
    check = configs.CheckConfig(tiny_data, out=tmp_path / "page.html")
    td.check_data(check)
    assert file_in(tmp_path / "page.html") == command_json("check-data", check)
