"""Hooks of the site: pages from outside docs/, files that pages link to, and notebooks, executed.

Pages keep the links that lead somewhere on a code host (`../cache/FORMAT.md`, `tutorials/strokes.ipynb`); here they are
turned into links of the site.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebooks import Executed, execute_all
from signatures import copy_package

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "cache/FORMAT.md": "format.md"}
"""File outside docs/ → page of the site."""
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=[)#])")
FILE_NAME = re.compile(r"\[(?P<shown>[\w/-]+\.md)\]\((?P<to>[\w/-]+\.md)(?=[)#])")
"""A link that is called as its file."""
CODE = re.compile(r"^(?:```[\s\S]*?^```$|(?: {4}.*\n)+)", re.MULTILINE)


class NotebookPage(File):
    """A page whose source is a notebook; links to the notebook become links to the page."""

    def is_documentation_page(self) -> bool:
        """Notebooks are pages, whatever their suffix."""
        return True


def on_startup(**_: object) -> None:
    """Lay out the package for the reference of its names."""
    copy_package()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, what they link to, and the notebooks."""
    for path, uri in PAGES.items():
        files.append(File.generated(config, uri, content=_relinked(ROOT / path, uri)))
    for path in sorted(_linked_files(files)):
        files.append(File.generated(config, f"source/{path}", abs_src_path=str(ROOT / path)))
    notebooks = [file for file in files if file.src_uri.endswith(".ipynb")]
    executed = execute_all([Path(str(file.abs_src_path)) for file in notebooks])
    for file, done in zip(notebooks, executed, strict=True):
        files.remove(file)
        _add_notebook(files, file, done, config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Turn links to what lies outside docs/ into links of the site, and name pages as the site does."""
    uri = page.file.src_uri
    if uri == PAGES["README.md"]:
        page.meta["hide"] = ["navigation"]
    if uri not in PAGES.values():
        markdown = _outside_code(markdown, lambda text: LINK.sub(lambda link: _on_the_site(link["path"], uri), text))
    titles = dict(_titles(config.nav))
    return FILE_NAME.sub(lambda link: f"[{titles.get(link['to'], link['shown'])}]({link['to']}", markdown)


def _titles(nav: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """(Page, its title) of a navigation."""
    for entry in nav:
        for title, below in entry.items():
            yield from [(below, title)] if isinstance(below, str) else _titles(below)


def on_post_page(output: str, **_: object) -> str:
    """Name what the theme leaves without a name."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _add_notebook(files: Files, file: File, done: Executed, config: MkDocsConfig) -> None:
    """The page, its pictures, and the notebook itself to download."""
    page = NotebookPage.generated(config, file.src_uri, content=done.markdown)
    files.append(page)
    stem = posixpath.splitext(file.src_uri)[0]
    for name, content in done.pictures.items():
        files.append(File.generated(config, f"{posixpath.dirname(stem)}/{name}", content=content))
    files.append(File.generated(config, f"source/docs/{file.src_uri}", abs_src_path=str(file.abs_src_path)))


def _relinked(path: Path, uri: str) -> str:
    """A page from outside docs/, with its links as they are from docs/."""
    folder = path.parent.relative_to(ROOT).as_posix()

    def from_docs(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link["path"]))
        return _to_page(target, uri)

    return _outside_code(path.read_text(encoding="utf-8"), lambda text: LINK.sub(from_docs, text))


def _on_the_site(link: str, uri: str) -> str:
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(uri), link))
    return link if target.startswith("docs/") else _to_page(target, uri)


def _to_page(target: str, uri: str) -> str:
    """The link from page `uri` to a file of the repository."""
    if target in PAGES:
        to = PAGES[target]
    elif target.startswith("docs/"):
        to = target.removeprefix("docs/")
    else:
        to = f"source/{target}"
    return posixpath.relpath(to, posixpath.dirname(uri) or ".")


def _linked_files(files: Files) -> set[str]:
    """Files of the repository, not pages, that pages link to."""
    sources = [ROOT / path for path in PAGES]
    sources += [Path(str(file.abs_src_path)) for file in files.documentation_pages() if file.abs_src_path]
    found: set[str] = set()
    for source in sources:
        folder = source.parent.relative_to(ROOT).as_posix()
        text = CODE.sub("", source.read_text(encoding="utf-8"))
        found |= {posixpath.normpath(posixpath.join(folder, link["path"])) for link in LINK.finditer(text)}
    return {path for path in found if path not in PAGES and not path.startswith("docs/") and (ROOT / path).is_file()}


def _outside_code(markdown: str, change: object) -> str:
    """`change` applied to what is not a block of code."""
    assert callable(change)
    parts, end = [], 0
    for block in CODE.finditer(markdown):
        parts += [change(markdown[end : block.start()]), block.group()]
        end = block.end()
    return "".join([*parts, change(markdown[end:])])
