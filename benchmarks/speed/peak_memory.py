"""Time and peak anonymous memory of a piece of work in this process (Linux).

The peak is that of RssAnon, sampled from /proc: the pages that the process itself filled. Pages of a mapped cache are
the system's, which takes them back when it needs them; VmHWM, the highest resident size, counts them too, so that no
peak may exceed it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from devices import synchronise
from plausibility import MARGIN, not_positive, outside, refuse

SAMPLE_EVERY_S = 0.005
STATUS = Path("/proc/self/status")


class Phase:
    """Takes the time, until the device has done its work, and the peak of anonymous memory of what runs inside."""

    def __init__(self, device: str = "cpu") -> None:
        if not STATUS.exists():
            raise SystemExit(f"{STATUS} does not exist; memory can be measured on Linux alone")
        self.device = device
        self.seconds = 0.0
        self.peak_bytes = 0
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._sampler.start()
        synchronise(self.device)
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            synchronise(self.device)
        self.seconds = time.perf_counter() - self._started
        self._over.set()
        self._sampler.join()
        self._sample()
        if error is None:
            refuse(implausible(self.seconds, self.peak_bytes, status_bytes("VmHWM")))

    def _watch(self) -> None:
        self._sample()
        while not self._over.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, status_bytes("RssAnon"))


def implausible(seconds: float, peak_bytes: int, highest_bytes: int) -> Iterator[str]:
    """Problems of a phase: no time, no memory, or more than the process ever held."""
    yield from not_positive({"seconds": seconds, "peak in bytes": peak_bytes})
    yield from outside(0, MARGIN, {"peak of anonymous memory ÷ highest resident size": peak_bytes / highest_bytes})


def status_bytes(name: str) -> int:
    """A size of this process from /proc, which gives KiB."""
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
