"""Configs as commands: what a shell gets back is the config again."""

import shlex
from importlib import import_module
from pathlib import Path

from textdiff import cli
from textdiff.pipeline.commands import command_line
from textdiff.pipeline.head_config import AblateConfig, EvaluateConfig, TrainConfig


def test_only_what_is_not_as_by_default_is_told_and_quoted_for_a_shell():
    config = TrainConfig(
        Path("my cache"), Path("run'1"), filters=False, timesteps=(50, 150), epochs=5, hold_out=True, text="none"
    )
    told = command_line("train-head", config)
    flags = "--timesteps 50,150 --no-filters --text none --hold-out --epochs 5"
    assert told == f"""textdiff train-head 'my cache' 'run'"'"'1' {flags}"""
    assert command_line("train-head", config, without=("epochs", "hold_out")).endswith("--no-filters --text none")
    subsets = AblateConfig(Path("c"), Path("o"), ((50,), (50, 150)), seeds=(3,))
    assert command_line("ablate-timesteps", subsets) == "textdiff ablate-timesteps c o --subsets '50;50,150' --seeds 3"


def test_the_command_line_reads_it_back(monkeypatch, capsys):
    """The flags are those that the program has, with their own ways to write tuples."""
    seen = []
    monkeypatch.setattr(cli, "_show", lambda summary, as_json: None)
    for module, name, command, config in (
        (
            "train",
            "train_head",
            "train-head",
            TrainConfig(Path("a b"), Path("r"), blocks=(1, 3), filters=False, seed=7),
        ),
        ("ablate", "ablate_timesteps", "ablate-timesteps", AblateConfig(Path("c"), Path("o"), ((5,), (5, 50)))),
        ("evaluate", "evaluate", "evaluate", EvaluateConfig(Path("r"), Path("c"), split="val", tta=4, surface=True)),
    ):
        monkeypatch.setattr(
            import_module(f"textdiff.pipeline.{module}"), name, lambda config, progress: seen.append(config)
        )
        arguments = shlex.split(command_line(command, config))[1:]
        cli.app(arguments, standalone_mode=False)
        assert seen[-1] == config
