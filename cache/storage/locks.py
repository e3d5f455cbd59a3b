"""Who writes to a cache: one process to all of it, or several to a part each; never two to the same shard.

The operating system frees a lock when the process that holds it ends, however it ends: a dead owner blocks nobody.
Object stores have no locks, and need none here: two writers of the same part under equal conditions put equal bytes,
each object whole, and other settings are refused by the plan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import portalocker
from portalocker import LockFlags

from ...errors import CacheBusyError
from .links import refuse_links_out
from .location import Location, on_disk

LOCK = ".lock"
PART_LOCKS = Path("journal") / "locks"
"""A file for each part that was ever at work on an extraction; they go when it is published."""
PLANNING, WORKERS = "planning", "workers"
PATIENCE_S = 0.5
"""How long a lock is waited for: another process may hold it for a moment, to see whether a third holds it."""


@dataclass(frozen=True)
class Share:
    """One of several processes that share an extraction."""

    id: int
    """From 0."""
    n_parts: int

    def __str__(self) -> str:
        """For people, and as the name of its lock."""
        return f"{self.id}-of-{self.n_parts}"


@contextmanager
def hold_lock(root: Location, part: Share | None = None) -> Iterator[None]:
    """Be the only writer of the cache at `root`, or of one part of it beside those of others.

    Args:
        root: the cache; its folder is made where it is absent.
        part: `None`: all of it.

    Raises:
        CacheBusyError: if another process writes to the same.
        CacheError: if something in the folder leads out of it.
    """
    if (folder := on_disk(root)) is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links_out(folder)
    with (folder / LOCK).open("a+b") as file:
        _lock(file, LockFlags.EXCLUSIVE if part is None else LockFlags.SHARED, _busy(root))
        _refuse_removed(folder, file)
        _refuse_workers(folder)
        if part is None:
            file.truncate(0)  # an empty file is what a check expects
            yield
            return
        path = folder / PART_LOCKS / str(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        busy = f"{root}: part {part} is being made by another process; wait until it ends"
        with path.open("ab") as part_lock:
            _lock(part_lock, LockFlags.EXCLUSIVE, busy)
            yield


@contextmanager
def hold_worker(root: Location) -> Iterator[None]:
    """Be one of the workers of a process that holds the lock: none may write on a disk when that process is gone."""
    if (folder := on_disk(root)) is None:
        yield
        return
    path = folder / PART_LOCKS / WORKERS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        portalocker.lock(file, LockFlags.SHARED)
        yield


@contextmanager
def hold_plan(root: Location) -> Iterator[None]:
    """Wait until no other part reads or writes the plan; for parts, while they hold their lock."""
    if (folder := on_disk(root)) is None:
        yield
        return
    with (folder / PART_LOCKS / PLANNING).open("ab") as file:
        portalocker.lock(file, LockFlags.EXCLUSIVE)
        yield


def refuse_if_locked(root: Location, *, beside_parts: bool = False) -> None:
    """Look whether another process writes to the cache at `root`, if there is one, without making anything.

    Args:
        root: the cache.
        beside_parts: whether processes that write a part each are allowed.

    Raises:
        CacheBusyError: if another process writes to it.
        CacheError: if something in the folder leads out of it.
    """
    if (folder := on_disk(root)) is None:
        return
    refuse_links_out(folder)
    if (folder / LOCK).exists():
        with _opened(folder / LOCK) as file:
            _lock(file, LockFlags.SHARED if beside_parts else LockFlags.EXCLUSIVE, _busy(root))


def parts_at_work(root: Location) -> tuple[str, ...]:
    """The parts whose locks are held just now, the caller's own included, as `K-of-N`; none of an object store's."""
    held = []
    folder = on_disk(root)
    for path in sorted((folder / PART_LOCKS).glob("*-of-*")) if folder else ():
        with _opened(path) as file:
            if not try_lock(file, LockFlags.EXCLUSIVE):
                held.append(path.name)
    return tuple(held)


def try_lock(file: IO[bytes] | int, kind: LockFlags) -> bool:
    """Lock an open file, if no other process holds a lock that excludes this one; closing it frees the lock.

    Returns:
        Whether it is locked now.

    Raises:
        OSError: if the file system has no locks.
    """
    try:
        portalocker.lock(file, kind | LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise OSError(f"cannot be locked ({error}); use a file system that supports file locks") from error
    return True


def _opened(path: Path) -> IO[bytes]:
    """For looking whether it is locked: NFS grants exclusive locks only on files that are open for writing."""
    try:
        return path.open("r+b")
    except OSError:
        return path.open("rb")


def _refuse_removed(root: Path, file: IO[bytes]) -> None:
    """A process that failed may have removed the new folder, with its lock, while this one waited for it."""
    path = root / LOCK
    if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
        raise CacheBusyError(_busy(root))


def _refuse_workers(root: Path) -> None:
    path = root / PART_LOCKS / WORKERS
    if path.exists():
        with _opened(path) as file:
            busy = f"{root}: workers of a process that was killed are still writing to this cache; wait until they end"
            _lock(file, LockFlags.EXCLUSIVE, busy)


def _busy(root: Location) -> str:
    return f"{root}: another process is writing to this cache; wait until it ends"


def _lock(file: IO[bytes], kind: LockFlags, busy: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not try_lock(file, kind):
        if time.monotonic() > until:
            raise CacheBusyError(busy)
        time.sleep(0.05)
