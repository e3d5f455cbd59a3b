"""What holds for every report."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

VOID = {"meta", "link", "img", "path", "use", "rect", "stop", "br"}


class Tree(HTMLParser):
    """Tags in order with their attributes, and what is wrong with their nesting."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.wrong = [], [], []
        self.feed(html)
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def _check_page(html: str) -> Tree:
    """Everything that holds for every report."""
    tree = Tree(html)
    assert tree.wrong == []
    ids = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes["alt"].strip() for attributes in tree.of("img"))
    assert all(attributes["src"].startswith("data:image/") for attributes in tree.of("img"))
    addresses = [a[name] for _, a in tree.tags for name in ("href", "src") if name in a]
    assert [one for one in addresses if not re.match(r"#|data:|[\w./-]+\.html$", one)] == []
    assert {one[1:] for one in addresses if one.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids)
    assert not re.search(r"https?://|//\w+\.\w+/", html)
    levels = [int(tag[1]) for tag, _ in tree.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert tree.of("html")[0]["lang"] == "en"
    assert all(attributes.get("scope") in ("col", "row") for attributes in tree.of("th"))
    labels = {a[name] for _, a in tree.tags for name in ("aria-labelledby",) if name in a}
    assert labels <= set(ids)
    assert all(a.get("aria-label") for _, a in tree.tags if a.get("role") == "img")
    return tree


@pytest.fixture
def check_page() -> Callable[[str], Tree]:
    """Checks a report's HTML, and gives its tags."""
    return _check_page
