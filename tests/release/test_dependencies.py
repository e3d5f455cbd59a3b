"""docs/dependencies.md has a line for each dependency of setup.cfg, in the table of what needs it."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DEVELOPMENT = ("dev", "docs", "browser")


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")


def rows(page, heading):
    """Package → the cell after it, of the table below a heading."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {name: cells[1] for cells in lines[2:] for name in cells[0].split(", ")}


def names(text):
    return {Requirement(line).name for line in text.splitlines() if line.strip()} - {"textdiff"}


@pytest.fixture
def listed(load_script):
    setup = load_script("check_files").settings()
    extras = setup["options.extras_require"]
    return names(setup["options"]["install_requires"]), {extra: names(extras[extra]) for extra in extras}


def test_every_dependency_of_the_package_has_a_line(page, listed):
    assert set(rows(page, "Of the package")) == listed[0]


def test_every_dependency_of_an_extra_has_a_line_that_names_the_extra(page, listed):
    wanted = {}
    for extra, packages in sorted(listed[1].items()):
        for package in packages if extra not in DEVELOPMENT else ():
            wanted[package] = f"{wanted[package]}, {extra}" if package in wanted else extra
    assert rows(page, "Of the extras") == wanted


def test_every_tool_of_development_has_a_line(page, listed):
    assert set(rows(page, "Of development")) == set().union(*(listed[1][extra] for extra in DEVELOPMENT))


def test_nothing_is_required_twice(listed):
    package, extras = listed
    assert {extra: sorted(package & packages) for extra, packages in extras.items() if package & packages} == {}


def test_every_requirement_has_a_lowest_version(load_script):
    setup = load_script("check_files").settings()
    lines = setup["options"]["install_requires"].splitlines()
    lines += [line for text in setup["options.extras_require"].values() for line in text.splitlines()]
    wanted = [line for line in lines if line.strip() and not line.startswith("textdiff[")]
    assert [line for line in wanted if not re.search(r">=\d", line)] == []
