"""The kinds of heads by name, as `--head` and a run's config give them."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Head
from .context import ContextHead
from .paper import PaperHead
from .pixel import PixelHead

HEADS: Mapping[str, type[Head]] = {"pixel": PixelHead, "context": ContextHead, "paper": PaperHead}
