"""Locks of an object store, which has none: an object that names its owner, and until when.

The owner renews it again and again. Where it died, the lease ends by itself and others may take it over. The object is
made on the condition that there is none, which S3 and GCS know; where a store does not, two who ask in the same moment
may both believe to have it. What is written is the same whoever writes it, so that even then nothing is lost.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import CacheBusyError, CacheError
from .remote import Remote

LEASE_S = 60.0
"""How long a lease holds that is not renewed."""
RENEW_S = 15.0
"""How often it is renewed."""
SKEW_S = 30.0
"""How far the clocks of two machines may be apart."""
SETTLE_S = 1.0
"""After taking over what had ended: whoever wrote last in this time is the owner."""

_held: set[Lease] = set()


class Lease:
    """A lease that this process holds.

    Args:
        place: the object.
        busy: what to say where another process has it.
    """

    def __init__(self, place: Remote, busy: str) -> None:
        self._place, self._busy, self._owner = place, busy, secrets.token_hex(8)
        self._ends, self._taken, self._released = 0.0, False, threading.Event()

    @property
    def guards(self) -> str:
        """What must not be written once the lease is lost: all that lies in the same cache."""
        return self._place.root

    @property
    def lost(self) -> bool:
        """Whether another process has it, or may have it by now."""
        return self._taken or time.monotonic() > self._ends

    def take(self) -> None:
        """Make the object, or take it over where it has ended.

        Raises:
            CacheBusyError: if another process has it.
        """
        try:
            self._write(new=True)
        except FileExistsError:
            refuse_if_live(self._place, self._busy)
            self._write(new=False)
            time.sleep(SETTLE_S)
            if not self._is_ours():
                raise CacheBusyError(self._busy) from None

    def keep(self) -> None:
        """Renew it until it is released or lost."""
        while not self._released.wait(RENEW_S) and not self._taken:
            try:
                self._taken = not self._is_ours()
                if not self._taken:
                    self._write(new=False)
            except CacheError:
                continue  # the store cannot be reached: it may be in time again

    def stop(self) -> None:
        """End `keep`."""
        self._released.set()

    def release(self) -> None:
        """Remove the object, if it is still this process's; after `keep` has ended."""
        if self._is_ours():
            self._place.unlink(missing_ok=True)

    def _write(self, *, new: bool) -> None:
        began = time.monotonic()
        ends = {"owner": self._owner, "ends": time.time() + LEASE_S}
        self._place.write_bytes(json.dumps(ends).encode(), new=new)
        self._ends = began + LEASE_S

    def _is_ours(self) -> bool:
        found = _read(self._place)
        return found is not None and found[0] == self._owner


@contextmanager
def hold_lease(place: Remote, busy: str, *, patience_s: float = 0.0) -> Iterator[None]:
    """Be the only one that holds `place`.

    Args:
        place: the object.
        busy: what to say where another process has it.
        patience_s: how long to wait until it is free.

    Raises:
        CacheBusyError: if another process has it for longer.
    """
    lease = Lease(place, busy)
    _take_patiently(lease, patience_s)
    renewal = threading.Thread(target=lease.keep, name="lease", daemon=True)
    renewal.start()
    _held.add(lease)
    try:
        yield
    finally:
        _held.discard(lease)
        lease.stop()
        renewal.join()
        lease.release()


def _take_patiently(lease: Lease, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while True:
        try:
            lease.take()
        except CacheBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(SETTLE_S / 2)
        else:
            return


def refuse_if_lost(place: Remote) -> None:
    """Stop before something is written to a cache whose lease this process had and lost.

    Raises:
        CacheBusyError: if so.
    """
    for lease in tuple(_held):
        if lease.guards == place.root and lease.lost:
            raise CacheBusyError(
                f"{place.root}: its lock could not be renewed for {LEASE_S:.0f} s, and another process may hold it "
                "now; nothing more is written: repeat the command with --resume"
            )


def is_live(place: Remote) -> bool:
    """Whether some process holds the lease."""
    return _seconds_left(place) > 0


def refuse_if_live(place: Remote, busy: str) -> None:
    """Look whether a process holds the lease.

    Raises:
        CacheBusyError: if so.
    """
    left = _seconds_left(place)
    if left > 0:
        raise CacheBusyError(f"{busy}; if that process died, its lock ends by itself in {left:.0f} s")


def _seconds_left(place: Remote) -> float:
    found = _read(place)
    return 0.0 if found is None else found[1] + SKEW_S - time.time()


def _read(place: Remote) -> tuple[str, float] | None:
    try:
        values = json.loads(place.read_bytes())
        return str(values["owner"]), float(values["ends"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "", 0.0  # of something else: it ended
