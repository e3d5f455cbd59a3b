"""Links and special files in a cache, whose folder may come from anybody: none may lead elsewhere, or make one wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import CacheError


def refuse_links_out(root: Path) -> None:
    """Refuse a cache in which a link leads out of its folder, or in which something is neither file nor folder.

    The folder itself may be reached through a link, and links within it are followed.

    Raises:
        CacheError: with all of them.
    """
    inside = root.resolve()
    problems = sorted(problem for path in _entries(root) if (problem := _problem(path, inside)))
    if problems:
        raise CacheError(
            f"{root}: contains links or special files:\n"
            + "\n".join(f"  - {path.relative_to(root)} {what}" for path, what in problems)
            + "\nremove them, or put the files themselves in their place; nothing was read or written through them"
        )


def _entries(root: Path) -> Iterator[Path]:
    """Everything below a folder that is not a plain file or folder."""
    waiting = [root] if root.is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def _problem(path: Path, inside: Path) -> tuple[Path, str] | None:
    if not path.is_symlink():
        return path, "is neither a file nor a folder"
    target = path.resolve()
    return None if target.is_relative_to(inside) else (path, f"is a link to {target}, outside of the cache")
