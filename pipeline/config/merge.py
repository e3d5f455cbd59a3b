"""What `cache merge` can be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .validation import one_file, refuse


@dataclass(frozen=True)
class MergeConfig:
    """Settings of `cache merge`."""

    out: Path
    """The cache's folder; must not hold another cache."""
    parts: tuple[Path, ...]
    """The folders of all parts of one extraction, as `extract-features --num-parts N --part-id K` made them."""

    unfinished: ClassVar[str] = "the parts are as they were: repeat the command, which goes on"

    def __post_init__(self) -> None:
        """Refuse folders that are named twice.

        Raises:
            ConfigError: as said.
        """
        folders = [path.resolve() for path in (self.out, *self.parts)]
        twice = sorted({str(path) for path in folders if folders.count(path) > 1})
        urls = [str(path) for path in (self.out, *self.parts) if re.match(r"[a-zA-Z][\w+.-]+:/", str(path))]
        refuse(
            f"the same folder was given twice: {', '.join(twice)}; give each once" if twice else None,
            f"got {', '.join(urls)}; `cache merge` works on folders: copy them to a disk" if urls else None,
            one_file(self.out),
        )
