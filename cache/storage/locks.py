"""Who writes to a cache: one process to all of it, or several to a part each; never two to the same shard.

The operating system frees a lock when the process that holds it ends, however it ends: a dead owner blocks nobody.
Object stores have none: there a lock is a lease (`leases.py`), which blocks others for a while where its owner died.
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
from .leases import hold_lease, is_live, refuse_if_live
from .links import refuse_links_out
from .location import Location
from .paths import names_below
from .remote import Remote

LOCK = ".lock"
PART_LOCKS = Path("journal") / "locks"
"""A file for each part that was ever at work on an extraction; they go when it is published."""
PLANNING, WORKERS = "planning", "workers"
PLANNING_S = 600.0
"""How long the plan is waited for in an object store."""
PATIENCE_S = 0.5
"""How long an unlikely moment is waited for, in which another process only looks whether a lock is held."""


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
        root: the cache; its folder is made where it is not there.
        part: `None`: all of it.

    Raises:
        CacheBusyError: if another process writes to the same.
        CacheError: if something in the folder leads out of it.
    """
    if isinstance(root, Remote):
        with _hold_remote(root, part):
            yield
        return
    root.mkdir(parents=True, exist_ok=True)
    refuse_links_out(root)
    with (root / LOCK).open("a+b") as file:
        _lock(file, LockFlags.EXCLUSIVE if part is None else LockFlags.SHARED, _busy(root))
        _refuse_removed(root, file)
        _refuse_workers(root)
        if part is None:
            file.truncate(0)  # an empty file is what a check expects
            yield
            return
        path = root / PART_LOCKS / str(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as of_part:
            _lock(
                of_part,
                LockFlags.EXCLUSIVE,
                f"{root}: part {part} is being made by another process; wait until it ends",
            )
            yield


@contextmanager
def hold_worker(root: Location) -> Iterator[None]:
    """Be one of the workers of a process that holds the lock: none may write on when that process is gone.

    To an object store they may: what they put is whole, and the same as others would put there.
    """
    if isinstance(root, Remote):
        yield
        return
    path = root / PART_LOCKS / WORKERS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        portalocker.lock(file, LockFlags.SHARED)
        yield


@contextmanager
def hold_plan(root: Location) -> Iterator[None]:
    """Wait until no other part reads or writes the plan; for parts, while they hold their lock."""
    if isinstance(root, Remote):
        with hold_lease(root / PART_LOCKS / PLANNING, _busy(root), patience_s=PLANNING_S):
            yield
        return
    with (root / PART_LOCKS / PLANNING).open("ab") as file:
        portalocker.lock(file, LockFlags.EXCLUSIVE)
        yield


def refuse_if_locked(root: Location, *, beside_parts: bool = False) -> None:
    """Look whether another process writes to the cache at `root`, if there is one, without making anything.

    Args:
        root: the cache.
        beside_parts: whether processes that write a part each are in nobody's way.

    Raises:
        CacheBusyError: if so.
        CacheError: if something in the folder leads out of it.
    """
    if isinstance(root, Remote):
        refuse_if_live(root / LOCK, _busy(root))
        if not beside_parts and parts_at_work(root):
            raise CacheBusyError(_busy(root))
        return
    refuse_links_out(root)
    if (root / LOCK).exists():
        with _opened(root / LOCK) as file:
            _lock(file, LockFlags.SHARED if beside_parts else LockFlags.EXCLUSIVE, _busy(root))


def parts_at_work(root: Location) -> tuple[str, ...]:
    """The parts whose locks are held just now, the caller's own included, as `K-of-N`."""
    if isinstance(root, Remote):
        return tuple(
            name for name in names_below(root / PART_LOCKS) if name != PLANNING and is_live(root / PART_LOCKS / name)
        )
    held = []
    for path in sorted((root / PART_LOCKS).glob("*-of-*")):
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
    """For looking whether it is locked: NFS lets nobody try an exclusive lock who cannot write."""
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


@contextmanager
def _hold_remote(root: Remote, part: Share | None) -> Iterator[None]:
    """One lease for all of a cache, or one for each part; who has taken one looks for those that exclude it."""
    if part is None:
        with hold_lease(root / LOCK, _busy(root)):
            if parts_at_work(root):
                raise CacheBusyError(_busy(root))
            yield
    else:
        busy = f"{root}: part {part} is being made by another process; wait until it ends"
        with hold_lease(root / PART_LOCKS / str(part), busy):
            refuse_if_live(root / LOCK, _busy(root))
            yield


def _busy(root: Location) -> str:
    return f"{root}: another process is writing to this cache; wait until it ends"


def _lock(file: IO[bytes], kind: LockFlags, busy: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not try_lock(file, kind):
        if time.monotonic() > until:
            raise CacheBusyError(busy)
        time.sleep(0.05)
