"""The page itself: whole HTML that needs no network, escapes what users wrote, and reads well without eyes."""

import json
import os
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from textdiff.pipeline.reports.page import (
    MAX_ROWS,
    Case,
    Chart,
    Charts,
    Commands,
    Facts,
    KeyFigure,
    Links,
    Page,
    Prose,
    Section,
    Table,
    WordMap,
    inline_image,
    render,
    words_section,
    write_page,
)

EVIL = "<script>alert('x')</script>&\"'"


@pytest.fixture
def page():
    dots = inline_image(np.full((8, 12, 3), 200, np.uint8), "image", f"Image {EVIL}")
    table = Table(f"caption {EVIL}", ("sample", "Dice", "p"), ((EVIL, 0.25, None), ("b", 0.5, 3)), 1)
    chart = Chart('<svg viewBox="0 0 4 4"><path d="M 0 0"/></svg>', f"alt {EVIL}", "A chart")
    parts = (Prose(EVIL), Charts((chart,)), table, Case(EVIL, EVIL, (dots,)), Facts(((EVIL, EVIL),)))
    return Page(
        command="evaluate",
        title=EVIL,
        lead=(EVIL,),
        figures=(KeyFigure(EVIL, "0.5", EVIL, (0.5, 0.25, 0.75)), KeyFigure("n", "3")),
        sections=(
            Section("all", EVIL, parts),
            words_section([WordMap(EVIL, dots, ((EVIL, "1.5"),))], EVIL),
            Section("end", "End", (Commands(((EVIL, EVIL),)), Links((("run/report.html", EVIL, EVIL),)))),
            Section("nothing", "Left out", ()),
        ),
        warnings=(EVIL,),
    )


def test_whatever_users_wrote_is_escaped_everywhere(page, check_page):
    html = render(page)
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert") >= 17
    check_page(html)


def test_a_page_is_whole_and_leaves_out_what_is_empty(page, check_page):
    html = render(page)
    tree = check_page(html)
    assert "Left out" not in html
    assert [a["aria-sort"] for a in tree.of("th") if "aria-sort" in a] == ["ascending"]
    assert 'data-value="0.25">0.2500<' in html
    assert "left:25.00%;right:calc(100% - 75.00%)" in html
    assert [(a["width"], a["height"]) for a in tree.of("img")] == [("12", "8")] * 2
    assert words_section([], "of nothing").parts == ()


def test_equal_pages_are_equal_bytes_and_a_failed_one_leaves_the_old(page, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_page(path, page)
    before = path.read_bytes()
    write_page(path, page)
    assert path.read_bytes() == before

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_page(path, replace(page, title="new"))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_table_shows_some_thousands_of_rows_and_says_of_how_many(page):
    table = Table("Samples.", ("sample", "group", "Dice"), tuple((f"s{i}", "g", 0.5) for i in range(MAX_ROWS + 7)))
    html = render(replace(page, sections=(Section("samples", "Samples", (table,)),)))
    assert html.count("<tr>") == MAX_ROWS + 1
    assert f"The first {MAX_ROWS} of {MAX_ROWS + 7} are shown." in html
    assert len(html) < 1_000_000


def test_templates_come_with_the_package():
    folder = files("textdiff.pipeline.reports") / "templates"
    setup = (Path(__file__).resolve().parents[3] / "setup.cfg").read_text()
    assert "textdiff.pipeline.reports = templates/*" in setup
    kinds = {kind.kind for kind in (Prose, Charts, Table, Case, Facts, Commands, Links)}
    assert {f"part_{kind}.html" for kind in kinds} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme):
    """WCAG AA: 4.5 to 1 for text, by the colours of the style sheet."""
    css = (files("textdiff.pipeline.reports") / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", blocks[0 if scheme == "light" else 1]))

    def luminance(name):
        digits = colours[name][1:]
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        linear = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
            for v in np.array([*bytes.fromhex(digits)]) / 255
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [(text, ground) for text in ("ink", "soft", "accent", "second") for ground in ("ground", "surface")]
    for text, ground in [
        *pairs,
        ("ink", "warn-ground"),
        ("warn", "warn-ground"),
        ("ink", "code"),
        ("ink", "accent-soft"),
    ]:
        light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_overflows_nothing_complains_and_keys_sort(page, browser, tmp_path, width):
    path, said = tmp_path / "report.html", []
    write_page(path, page)
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    tab.goto(path.as_uri())
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.focus("th:nth-child(2) button")
    order = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[1].textContent)"
    assert json.dumps(tab.evaluate(order)) == '["0.2500", "0.5000"]'
    tab.keyboard.press("Enter")
    assert tab.evaluate(order) == ["0.5000", "0.2500"]
    assert tab.get_attribute("th:nth-child(2)", "aria-sort") == "descending"
    tab.keyboard.press("Space")
    assert tab.evaluate(order) == ["0.2500", "0.5000"]
    assert said == []
