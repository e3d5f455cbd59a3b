"""A report as data, and as one HTML file that needs no network and no other file.

A page is sections of elements; `templates/report.html` alone knows how each element looks. Whatever comes
from users (ids, texts, paths) is escaped there.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8

from ...cache.storage.atomic import write_durably

REPORT = "report.html"
MAX_ROWS = 5000
"""Of a table; a report stays small enough to be sent."""

RAMP = ((0.0, "#0b0a1f"), (0.3, "#5a1a7a"), (0.6, "#d1436b"), (0.85, "#fb9b62"), (1.0, "#fcf6c0"))
"""Positions from certain (0) to uncertain (1) and their colours, of rising lightness."""

Cell = str | int | float | None


@dataclass(frozen=True)
class KeyFigure:
    """One of the numbers at the head of a page."""

    label: str
    value: str
    note: str = ""
    """Explanation in words."""
    span: tuple[float, float, float] | None = None
    """Value, low and high end of its interval in [0, 1], drawn on a line; `None`: no line."""


@dataclass(frozen=True)
class InlineImage:
    """An image, inlined."""

    uri: str
    alt: str
    """Description for readers who do not see the image."""
    caption: str
    size: tuple[int, int]
    """Height and width in pixels."""


@dataclass(frozen=True)
class Prose:
    """A few sentences."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawing in the text's own colours."""

    svg: str
    alt: str
    """Description in words."""
    title: str
    note: str = ""


@dataclass(frozen=True)
class Charts:
    """Drawings side by side."""

    kind: ClassVar[str] = "charts"
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted by each column."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """In the order in which they are shown at first; fractions are shown with four digits."""
    sorted_by: int | None = None
    """The column by which the rows already ascend; `None`: by none."""

    @property
    def shown(self) -> tuple[tuple[Cell, ...], ...]:
        """As many rows as a page bears."""
        return self.rows[:MAX_ROWS]


@dataclass(frozen=True)
class Case:
    """One sample with its images."""

    kind: ClassVar[str] = "case"
    heading: str
    text: str
    """The text that the head was shown; "": none."""
    pictures: tuple[InlineImage, ...]


@dataclass(frozen=True)
class Swatch:
    """A mark and its meaning; `mark` names a pattern of the template."""

    mark: str
    meaning: str
    colour: str = ""


@dataclass(frozen=True)
class Legend:
    """Meanings of colours and patterns."""

    kind: ClassVar[str] = "legend"
    swatches: tuple[Swatch, ...]


@dataclass(frozen=True)
class WordMap:
    """Effect of one word on every pixel."""

    word: str
    map: InlineImage
    figures: tuple[tuple[str, str], ...]
    """Names and values."""


@dataclass(frozen=True)
class Words:
    """Maps of words, side by side."""

    kind: ClassVar[str] = "words"
    words: tuple[WordMap, ...]


@dataclass(frozen=True)
class Facts:
    """Names and their values."""

    kind: ClassVar[str] = "facts"
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Commands:
    """Lines to paste into a shell, each with its purpose."""

    kind: ClassVar[str] = "commands"
    commands: tuple[tuple[str, str], ...]
    file: str = ""
    """Content of the file that repeats the first of them (`--config`), to be downloaded; "": none."""

    @property
    def address(self) -> str:
        """The file as an address that needs no network."""
        return f"data:application/json,{quote(self.file)}"


@dataclass(frozen=True)
class Links:
    """Other pages beside this one: (relative address, name, content)."""

    kind: ClassVar[str] = "links"
    links: tuple[tuple[str, str, str], ...]


Element = Prose | Charts | Table | Case | Legend | Words | Facts | Commands | Links


@dataclass(frozen=True)
class Section:
    """Elements under one heading; a section without elements is left out of the page."""

    id: str
    heading: str
    parts: tuple[Element, ...]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    command: str
    """The command that wrote it."""
    title: str
    lead: tuple[str, ...]
    """Question and result, a sentence each."""
    figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = field(default=())


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "rounded": lambda share: f"{100 * min(max(share, 0), 1):.2f}"}
    sections = [section for section in page.sections if section.parts]
    return environment.get_template(REPORT).render(page=page, sections=sections, scale=RAMP)


def write_page(path: Path, page: Page) -> None:
    """Write the page, whole or not at all."""
    write_durably(path, [render(page).encode()])


def inline_image(pixels: UInt8[np.ndarray, "y x 3"], caption: str, alt: str) -> InlineImage:
    """Inline an image as JPEG, with its colours at full resolution: thin lines are to be seen."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80, subsampling=0)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    height, width = pixels.shape[:2]
    return InlineImage(f"data:image/jpeg;base64,{encoded}", alt, caption, (height, width))


def words_section(words: Sequence[WordMap], of: str) -> Section:
    """Effect of every word on every pixel; left out where there are no maps.

    Args:
        words: in the order of their effects.
        of: their sample and text, in a sentence.
    """
    return Section("words", "Words", (Prose(of), Words(tuple(words))) if words else ())


def _cell(value: Cell) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
