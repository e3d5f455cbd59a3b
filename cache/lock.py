"""Who writes to a cache: one process to all of it, or several to a part each; never two to the same shard.

Locks are `flock`s, which go with the process that holds them, however it ends: a dead owner blocks nobody.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import CacheBusyError
from .links import refuse_links_out

LOCK = ".lock"
PART_LOCKS = Path("journal") / "locks"
"""A file for each part that was ever at work on an extraction; they go when it is published."""
PLANNING, WORKERS = "planning", "workers"
PATIENCE_S = 0.5
"""How long an unlikely moment is waited for, in which another process only looks whether a lock is held."""


@dataclass(frozen=True)
class Part:
    """One of several processes that share an extraction."""

    id: int
    """From 0."""
    n_parts: int

    def __str__(self) -> str:
        """For people, and as the name of its lock."""
        return f"{self.id}-of-{self.n_parts}"


@contextmanager
def hold_lock(root: Path, part: Part | None = None) -> Iterator[None]:
    """Be the only writer of the cache at `root`, or of one part of it beside those of others.

    Args:
        root: the cache's folder; made where it is not there.
        part: `None`: all of it.

    Raises:
        CacheBusyError: if another process writes to the same.
        CacheError: if something in the folder leads out of it.
    """
    root.mkdir(parents=True, exist_ok=True)
    refuse_links_out(root)
    with (root / LOCK).open("ab") as file:
        _lock(file, fcntl.LOCK_EX if part is None else fcntl.LOCK_SH, _busy(root))
        _refuse_workers(root)
        if part is None:
            file.truncate(0)  # an empty file is what a check expects
            yield
            return
        path = root / PART_LOCKS / str(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as of_part:
            _lock(of_part, fcntl.LOCK_EX, f"{root}: part {part} is being made by another process; wait until it ends")
            yield


@contextmanager
def hold_worker(root: Path) -> Iterator[None]:
    """Be one of the workers of a process that holds the lock: none may write on when that process is gone."""
    path = root / PART_LOCKS / WORKERS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def hold_plan(root: Path) -> Iterator[None]:
    """Wait until no other part reads or writes the plan; for parts, while they hold their lock."""
    with (root / PART_LOCKS / PLANNING).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def refuse_if_locked(root: Path, *, beside_parts: bool = False) -> None:
    """Look whether another process writes to the cache at `root`, if there is one, without making anything.

    Args:
        root: the cache's folder.
        beside_parts: whether processes that write a part each are in nobody's way.

    Raises:
        CacheBusyError: if so.
        CacheError: if something in the folder leads out of it.
    """
    refuse_links_out(root)
    if (root / LOCK).exists():
        with (root / LOCK).open("rb") as file:
            _lock(file, fcntl.LOCK_SH if beside_parts else fcntl.LOCK_EX, _busy(root))


def parts_at_work(root: Path) -> tuple[str, ...]:
    """The parts whose locks are held just now, the caller's own included, as `K-of-N`."""
    held = []
    for path in sorted((root / PART_LOCKS).glob("*-of-*")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(path.name)
    return tuple(held)


def _refuse_workers(root: Path) -> None:
    path = root / PART_LOCKS / WORKERS
    if path.exists():
        with path.open("rb") as file:
            busy = f"{root}: workers of a process that was killed are still writing to this cache; wait until they end"
            _lock(file, fcntl.LOCK_EX, busy)


def _busy(root: Path) -> str:
    return f"{root}: another process is writing to this cache; wait until it ends"


def _lock(file: IO[bytes], kind: int, busy: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > until:
                raise CacheBusyError(busy) from error
            time.sleep(0.05)
        else:
            return
