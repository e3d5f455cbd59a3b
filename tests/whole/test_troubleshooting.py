"""docs/troubleshooting.md quotes messages as the program has them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
ANY = "…"
"""Stands for a value in a message."""


def quoted():
    """Messages in the first table of the page."""
    table = PAGE.read_text(encoding="utf-8").split("## Messages")[1].split("\n\n")[1]
    return [re.match(r"\| `(.+?)` \|", line)[1] for line in table.splitlines()[2:]]


def text_of(node):
    """A string of the program with … in place of values; "" for anything else."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text_of(one) or ANY for one in values)
    return ""


@pytest.fixture(scope="module")
def strings():
    sources = [path for layer in ("cache", "stages", "pipeline") for path in (ROOT / layer).rglob("*.py")]
    return [text_of(node) for path in sources for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def test_there_are_messages_on_the_page():
    assert len(quoted()) > 8


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_of_the_program(strings, message):
    pattern = re.compile(".+".join(re.escape(part.strip()) for part in message.split(ANY) if part.strip()), re.DOTALL)
    assert any(pattern.search(one) for one in strings)


def test_a_message_that_the_program_does_not_have_would_be_found(strings):
    assert not any("there are no decoder bricks" in one for one in strings)
