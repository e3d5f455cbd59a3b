"""docs/cli.md equals the page made from the program."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def make_cli(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("make_cli")


def test_the_reference_is_what_the_program_says(make_cli):
    written = make_cli.PAGE.read_text(encoding="utf-8")
    assert written == make_cli.page(), f"docs/cli.md is not what the program says; mend it with `{make_cli.REMAKE}`"


def test_the_page_has_flags_values_defaults_and_brackets(make_cli):
    page = make_cli.page()
    assert "    textdiff extract-features DATA CACHE [OPTIONS]" in page
    assert re.search(r"\| `--timesteps` \| `N,N,...` \| `50,150,250` \| .*\[0, number of training timesteps\)", page)
    assert re.search(r"\| `--encoder` \| `SOURCE` \|  \| A frozen image encoder .* repeat the flag", page)
    assert re.search(r"\| `--filters`, `--no-filters` \|  \| `--filters` \|", page)
    assert re.search(r"\| `--split` \| `train`, `val`, `test` \| `test` \|", page)
    assert "## textdiff cache info\n" in page
    assert "- [`textdiff cache info`](#textdiff-cache-info): List what a cache holds." in page


def test_a_pipe_in_a_help_does_not_end_its_cell(make_cli):
    app = typer.Typer()

    def one(**given): ...

    about = typer.Option(help="a|b", show_default=False)
    kind = Annotated[Literal["x", "y"] | None, about]
    one.__signature__ = inspect.Signature(
        [inspect.Parameter("some_flag", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)]
    )
    app.command("one")(one)
    name, function = next(make_cli._commands("p", app))
    assert list(make_cli._section(name, function))[-1] == r"| `--some-flag` | `x`, `y` |  | a\|b |"


def links(page):
    return re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))


def test_every_link_between_the_pages_leads_somewhere():
    pages = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
    dead = [f"{page.name}: {to}" for page in pages for to in links(page) if not (page.parent / to).exists()]
    assert sum(len(links(page)) for page in pages) > 10
    assert dead == []
