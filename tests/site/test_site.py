"""The built site: links lead somewhere, and pages load in a browser without a request to elsewhere or a fault."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin

import pytest

pytestmark = pytest.mark.slow

PAGES_AT_LEAST = 24
ELSEWHERE = re.compile(r"[a-z]+:|//")


class Links(HTMLParser):
    """Addresses and anchors of a page; `loaded` are those that a browser asks for by itself."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.addresses, self.loaded = set(), set(), set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        self.addresses |= {given[name] for name in ("href", "src") if given.get(name)}
        loads = tag in ("script", "img", "iframe", "source") or given.get("rel") in ("stylesheet", "icon", "preconnect")
        self.loaded |= {given[name] for name in ("href", "src") if loads and given.get(name)}


@pytest.fixture(scope="module")
def pages(site):
    """Address below the site's folder → its links."""
    found = {path.relative_to(site).as_posix(): Links(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(found) >= PAGES_AT_LEAST
    return found


def test_every_link_and_anchor_leads_somewhere(site, pages):
    dead = []
    for page, links in pages.items():
        for address in links.addresses:
            if ELSEWHERE.match(address) or page == "404.html":
                continue
            to, anchor = urldefrag(urljoin(page, address))
            to = unquote(to) or page
            if (site / to).is_dir():
                to = f"{to.rstrip('/')}/index.html".lstrip("/")
            if not (site / to).is_file() or (anchor and to in pages and unquote(anchor) not in pages[to].ids):
                dead.append((page, address))
    assert dead == []


def test_no_page_names_a_server_from_which_it_loads(pages):
    assert {(page, one) for page, links in pages.items() for one in links.loaded if ELSEWHERE.match(one)} == set()


def test_no_markdown_is_left(site):
    """What one dialect takes for a list, a table or a link, and the other for text."""
    left = {}
    for path in site.glob("**/*.html"):
        body = re.sub(r"<(pre|script|style|code)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
        text = re.sub(r"<[^>]+>", "\0", body)
        found = re.findall(r"[.:;,*]\n(?:- |\| |\d\. \S).{0,40}|\n```|\]\([^)\n]{1,60}\)|\*\*\w.{0,40}", text)
        if found:
            left[path.name] = found[:4]
    assert left == {}


IN_THE_DARK = {"index.html", "api.html", "cli.html", "results.html", "tutorials/own_images.html"}
"""Pages that have, between them, everything that has a colour: the dark scheme is the theme's, and the same for all."""


@pytest.fixture
def visit(browser, axe):
    """Gives `visit(address, dark)`: a page's faults on a wide screen, light or also dark, and its width on a phone."""
    tab = browser.new_page()
    asked, errors = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))

    def load(address, *, dark):
        asked.clear()
        errors.clear()
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.emulate_media(color_scheme="light")
        tab.goto(address, wait_until="load")
        tab.add_script_tag(content=axe)
        faults = serious(tab, "{preload: false, resultTypes: ['violations']}")
        tab.emulate_media(color_scheme="dark")
        assert tab.get_attribute("body", "data-md-color-scheme") == "slate"
        if dark:
            faults += serious(tab, "{preload: false, runOnly: ['color-contrast', 'link-in-text-block']}")
        tab.set_viewport_size({"width": 390, "height": 844})
        width = tab.evaluate("document.scrollingElement.scrollWidth")
        return {"asked": [*asked], "errors": [*errors], "axe": faults, "width at 390": width}

    yield load
    tab.close()


def serious(tab, options):
    found = tab.evaluate(f"axe.run(document, {options})")["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], node["target"], node["failureSummary"]) for one in bad for node in one["nodes"]]


@pytest.mark.browser
def test_every_page_loads_from_the_disk_without_a_fault(site, pages, visit):
    """In one test, since two workers would each visit all pages."""
    assert pages.keys() >= IN_THE_DARK
    names = sorted(pages.keys() - {"404.html"})
    visited = {page: visit((site / page).as_uri(), dark=page in IN_THE_DARK) for page in names}
    asked = {url for one in visited.values() for url in one["asked"]}
    assert {url for url in asked if not re.match("file:|data:|blob:", url)} == set()
    assert {page: one["errors"] for page, one in visited.items() if one["errors"]} == {}
    assert {page: one["axe"] for page, one in visited.items() if one["axe"]} == {}
    assert {page: one["width at 390"] for page, one in visited.items() if one["width at 390"] > 390} == {}


@pytest.mark.browser
def test_the_search_finds_a_page_from_the_disk(site, browser):
    tab = browser.new_page()
    tab.goto((site / "index.html").as_uri(), wait_until="load")
    tab.click(".md-search__input")
    tab.wait_for_selector(".md-search-result__meta >> text=/Type to start/")
    tab.locator(".md-search__input").press_sequentially("glossary")  # the search listens to keys
    tab.wait_for_selector(".md-search-result__item a[href*=architecture]", timeout=20_000)
    tab.close()
