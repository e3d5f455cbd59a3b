"""The command line as a user meets it: help, wrong usage, wrong input, JSON, and the whole way in a few commands."""

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from textdiff import __version__, cli
from textdiff.pipeline import config as configs


def call(capsys, monkeypatch, *arguments):
    """Exit code, stdout and stderr of one command."""
    monkeypatch.setattr(sys, "argv", ["textdiff", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    printed = capsys.readouterr()
    return exit_.value.code or 0, printed.out, printed.err


@pytest.fixture
def textdiff(capsys, monkeypatch):
    return lambda *arguments: call(capsys, monkeypatch, *arguments)


@pytest.mark.parametrize("command", [*map(cli.command_name, cli.COMMANDS)])
def test_every_command_has_help_with_json(textdiff, command):
    code, out, _ = textdiff(*command.split(), "--help")
    assert code == 0
    assert "--json" in out


def test_the_version_is_printed(textdiff):
    assert textdiff("--version") == (0, f"textdiff {__version__}\n", "")


def test_help_shows_the_configs_own_words_and_defaults(textdiff):
    _, out, _ = textdiff("train-head", "--help")
    flat = " ".join(out.replace("│", " ").split())
    assert "Passes over the training images" in flat
    assert f"({configs.TrainConfig.pixels_per_image})" in flat
    for field in ("--timesteps", "--blocks", "--text", "--n-labelled", "--seed", "--epochs", "--resume", "--head"):
        assert field in flat


def test_what_is_on_by_default_can_be_turned_off(textdiff):
    for command in ("extract-features", "train-head"):
        _, out, _ = textdiff(command, "--help")
        assert "--no-filters" in out
        assert "--no-resume" not in out


def test_help_shows_brackets_as_they_are(textdiff):
    _, out, _ = textdiff("predict", "--help")
    assert "float16 [class, y, x]" in " ".join(out.replace("│", " ").split())


@pytest.mark.slow
def test_help_answers_within_a_second():
    code = """
import atexit, sys, time
atexit.register(lambda: print(time.process_time(), *sys.modules, file=sys.stderr))
from textdiff.__main__ import main
sys.argv = ["textdiff", "extract-features", "--help"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *modules = done.stderr.split()
    assert "--timesteps" in done.stdout
    assert not {"torch", "numpy", "zarr", "diffusers", "matplotlib"} & set(modules)
    assert float(seconds) < 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train-head"], 2, "Missing argument"),
        (["train-head", "c", "r", "--epochs", "many"], 2, "--epochs"),
        (["train-head", "c", "r", "--timesteps", "50;150"], 2, "--timesteps"),
        (["train-head", "c", "r", "--text", "perhaps"], 2, "--text"),
        (["ablate-timesteps", "c", "o", "--subsets", "a,b"], 2, "--subsets"),
        (["check-data", "d", "--window", "1,2,3"], 2, "--window"),
        (["extract-features", "d", "c", "--unet", "diffusers:x", "--preset", "best"], 2, "--preset"),
        (["train-head", "c", "r", "--epochs", "0"], 1, "--epochs got 0; expected at least 1"),
        (["train-head", "nowhere", "r"], 1, "nowhere: no feature cache here"),
        (["evaluate", "nowhere", "c"], 1, "nowhere: no run here"),
        (["predict", "nowhere", "i", "o"], 1, "nowhere: no run here"),
        (["suggest", "nowhere", "r"], 1, "r: no run here"),
        (["explain", "nowhere", "i", "--text", "t"], 1, "nowhere: no run here"),
        (["explain", "nowhere", "i"], 2, "--text"),
        (["check-data", "nowhere"], 1, "nowhere does not exist"),
        (["cache", "info", "nowhere"], 1, "nowhere: no feature cache here"),
        (["cache", "verify", "nowhere"], 1, "nowhere: no feature cache here"),
        (["pretrain-unet", "nowhere", "o"], 1, "nowhere"),
    ],
)
def test_wrong_usage_and_wrong_input_have_their_own_codes_and_messages(
    textdiff, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    got, out, err = textdiff(*arguments)
    assert got == code
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_with_one_line(textdiff, tmp_path, monkeypatch):
    from textdiff.pipeline.checking import check

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "check", interrupted)
    assert textdiff("check-data", tmp_path) == (
        130,
        "",
        "interrupted; nothing is half-written: repeat the command\n",
    )


def test_an_interrupt_while_modules_are_loaded_ends_with_one_line(capsys, monkeypatch):
    from textdiff import __main__ as start

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as exit_:
        start.main()
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "interrupted before the command began: repeat it\n"


def test_check_data_exits_with_1_and_lists_what_is_wrong(textdiff, tiny_data):
    (tiny_data.parent / "val0_mask.png").unlink()
    code, out, _ = textdiff("check-data", tiny_data, "--json")
    report = json.loads(out)
    assert code == 1
    assert len(report["problems"]) == 1
    assert "val0_mask.png" in report["problems"][0]


@pytest.mark.slow
def test_the_whole_way_with_json(textdiff, tiny_data, tiny_unet, tiny_encoder, tmp_path):
    def run(*arguments):
        code, out, err = textdiff(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    cache, head = tmp_path / "cache", tmp_path / "run"
    models = ("--unet", f"diffusers:{tiny_unet}", "--text-encoder", f"hf:{tiny_encoder}")
    settings = ("--timesteps", "50,150", "--blocks", "1,3", "--image-size", "16", "--device", "cpu")
    assert run("check-data", tiny_data)["problems"] == []
    assert run("extract-features", tiny_data, cache, *models, *settings, "--dry-run")["dry_run"]
    assert run("extract-features", tiny_data, cache, *models, *settings)["n_forwards"] == 7
    assert run("cache", "info", cache)["splits"] == {"train": 4, "val": 2, "test": 1}
    assert run("cache", "verify", cache)["problems"] == []
    small = ("--width", "16", "--n-attention-heads", "2", "--epochs", "2", "--device", "cpu")
    assert run("train-head", cache, head, "--text", "true", *small)["n_train"] == 4
    assert {"dice", "iou", "n", "per_sample"} <= run("evaluate", head, cache).keys()
    assert run("predict", head, tiny_data.parent / "test0.png", tmp_path / "masks", "--text", "round")["n"] == 1
    words = run("explain", head, tiny_data.parent / "test0.png", "--text", "round nuclei")["words"]
    assert {one["label"] for one in words} == {"round", "nuclei"}
    subsets = ("--subsets", "50;50,150", "--seeds", "0", "--epochs", "1")
    rows = run("ablate-timesteps", cache, tmp_path / "ablation", *subsets)["rows"]
    assert [row["timesteps"] for row in rows] == [[50], [50, 150]]


def test_every_config_is_a_commands_and_every_field_of_it_explains_itself():
    classes = {getattr(configs, name) for name in configs.__all__ if name.endswith("Config")}
    assert classes == {command.config for command in cli.COMMANDS}
    for config in classes:
        texts = cli.field_docstrings(config)
        assert set(texts) == {field.name for field in fields(config)}, config
        assert all(texts.values()), config


def test_panels_hold_fields_that_there_are_and_the_everyday_ones_come_first(textdiff):
    known = {field.name for command in cli.COMMANDS for field in fields(command.config)}
    grouped = [name for names in cli.PANELS.values() for name in names.split()]
    assert set(grouped) <= known
    assert len(set(grouped)) == len(grouped)
    _, out, _ = textdiff("extract-features", "--help")
    places = [out.index(one) for one in ("─ Options ", "--unet ", "--timesteps", "─ Models ", "─ Several processes ")]
    assert places == sorted(places)
