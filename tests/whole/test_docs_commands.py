"""Every command that README and docs show is one: its flags exist, and its values make a config."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textdiff import cli
from textdiff.pipeline.runtime.results import Result

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "cache" / "FORMAT.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = {"cli.md"}
"""Pages that are made from the program."""
BLOCK_LINE = re.compile(r"^ {4,}((?:.*\\\n)*.*)$", re.MULTILINE)
SPAN = re.compile(r"`(textdiff [^`]+)`")
PLACEHOLDERS = {"N": "8", "M": "64", "K": "0", "NAME": "histology", "COMMAND": "fit"}
"""What stands for a value of the reader's → such a value."""
FILES = {"out/run/command.json": '{"command": "train-head", "cache": "cache", "run": "run"}'}
"""Files that commands on the pages read as their flags are parsed."""


class Nothing(Result):
    def to_dict(self):
        return {}

    def lines(self):
        return []


@pytest.fixture(scope="module")
def app():
    """The command line with functions that do nothing but take a config."""

    def in_place_of(function):
        @functools.wraps(function)
        def do_nothing(config, **_):
            assert isinstance(config, function.config)
            return Nothing()

        return do_nothing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "COMMANDS", tuple(in_place_of(one) for one in cli.COMMANDS))
        yield cli.build_app()


def commands(page):
    """(line, as it is to be called) for each command of a page, its comment left out."""
    text = page.read_text(encoding="utf-8")
    blocks = [match[1] for match in BLOCK_LINE.finditer(text) if match[1].startswith("textdiff ")]
    for shown in [*blocks, *SPAN.findall(text)]:
        words = shlex.split(re.sub(r"\s+", " ", shown.replace("\\\n", " ")), comments=True)[1:]
        yield shown, list(filled(words))


def filled(words):
    """A command with values in place of what the reader fills in: `...` is a flag's value, or flags of this command."""
    for before, word in itertools.pairwise(["", *words]):
        if word == "..." and not before.startswith("--"):
            yield from ("--unet", "diffusers:unet") if words[0] == "extract-features" else ()
        else:
            yield {**PLACEHOLDERS, "...": "diffusers:unet"}.get(word, word)


def whole(words):
    """Whether a command is shown to be called, and not only named."""
    return len(words) > 1 + (words[0] == "cache")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in MADE], ids=lambda page: page.name)
def test_the_commands_of_a_page_are_commands(app, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    wrong = []
    for shown, words in commands(page):
        asked = words if whole(words) else [*words, "--help"]
        result = CliRunner().invoke(app, asked)
        if result.exit_code:
            wrong.append((shown, result.output.splitlines()[-3:] or repr(result.exception)))
    assert wrong == []


def test_there_are_commands_on_the_pages():
    assert sum(len(list(commands(page))) for page in PAGES) > 60


def test_a_flag_that_is_none_would_be_found(app):
    assert CliRunner().invoke(app, ["fit", "DATA", "OUT", "--minuets", "3"]).exit_code == 2
    assert CliRunner().invoke(app, ["fit", "DATA", "OUT", "--image-size", "-3"]).exit_code == 1
