"""The state of the pretend device (pretend_device.py): what it was asked for, its streams and its pinned memory."""

from __future__ import annotations

import math
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakSet

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import _disable_current_modes

import textdiff

ROOTS = (str(Path(textdiff.__file__).parent), str(Path(__file__).resolve().parents[1]))
OURS = ("pretend_device", "pretend_machine", "pretend_torch")

Copy = tuple[torch.Tensor, torch.Tensor]
"""A host tensor, and the values that it is to have."""


@dataclass
class Traffic:
    """What a device was asked for, each by the line of this project that asked."""

    to_device: Counter[str] = field(default_factory=Counter)
    """Bytes copied to the device."""
    to_host: Counter[str] = field(default_factory=Counter)
    """Bytes copied back."""
    copies: Counter[str] = field(default_factory=Counter)
    """Number of copies, either way."""
    waits: Counter[str] = field(default_factory=Counter)
    """How often the host waited: for a number, for a copy that was not queued, or as told."""
    kernels: Counter[str] = field(default_factory=Counter)
    """Number of operations, by their names."""

    def copy(self) -> Traffic:
        """The counts so far."""
        return Traffic(*(Counter(counts) for counts in vars(self).values()))

    def since(self, before: Traffic) -> Traffic:
        """The counts since a copy was taken."""
        return Traffic(*(now - then for now, then in zip(vars(self).values(), vars(before).values(), strict=True)))

    def __str__(self) -> str:
        totals = ", ".join(f"{name}: {counts.total():,}" for name, counts in vars(self).items())
        return totals + "".join(f"\n  waited {n} times at {line}" for line, n in self.waits.most_common())


class Machine:
    """The device's counts, streams, generators and pinned memory, for all threads."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.streams: WeakSet[PretendStream] = WeakSet()
        self.generators: dict[int, torch.Generator] = {}
        self._default, self._of_thread = PretendStream(machine=self), threading.local()
        self._pinned: dict[int, StorageWeakRef] = {}  # a weak reference keeps the number from being used again

    @property
    def stream(self) -> PretendStream:
        """The stream of the calling thread."""
        return getattr(self._of_thread, "stream", self._default)

    @contextmanager
    def using(self, stream: PretendStream | None) -> Iterator[None]:
        """As `torch.cuda.stream`."""
        before = self.stream
        self._of_thread.stream = stream or before
        try:
            yield
        finally:
            self._of_thread.stream = before

    def note_wait(self) -> None:
        """Count a wait of the host."""
        self.traffic.waits[line()] += 1

    def synchronize(self, device: object = None) -> None:
        """As `torch.cuda.synchronize`."""
        del device
        self.note_wait()
        for stream in self.streams:
            stream.carry_out(stream.queued)

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """Take the memory of a tensor for pinned."""
        storage = tensor.untyped_storage()
        self._pinned[storage._cdata] = StorageWeakRef(storage)
        return tensor

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor's memory is pinned."""
        return tensor.untyped_storage()._cdata in self._pinned

    def count_copy(self, n_bytes: Counter[str], host: torch.Tensor, *, queued: bool) -> bool:
        """Count a copy between a host tensor and the device; whether it is queued, which takes pinned memory."""
        queued = queued and self.is_pinned(host)
        n_bytes[line()] += host.nbytes
        self.traffic.copies[line()] += 1
        if not queued:
            self.note_wait()
            self.stream.carry_out(self.stream.queued)
        return queued

    def send_back(self, host: torch.Tensor, values: torch.Tensor, *, queued: bool) -> torch.Tensor:
        """Copy values to a host tensor, now or when the copy is waited for."""
        if self.count_copy(self.traffic.to_host, host, queued=queued):
            host.fill_(math.nan if host.is_floating_point() else 1)
            self.stream.queued.append((host, values.clone()))
        else:
            host.copy_(values)
        return host


present: list[Machine] = []


def machine() -> Machine:
    """The machine with the device."""
    return present[-1]


class PretendStream:
    """A queue of copies to the host; all else is done when it is queued."""

    def __init__(self, device: object = None, machine: Machine | None = None, **_: object) -> None:
        del device
        self.queued: list[Copy] = []
        (machine or present[-1]).streams.add(self)

    def carry_out(self, copies: list[Copy]) -> None:
        """Have queued copies arrive."""
        with _disable_current_modes():
            for host, values in copies:
                host.copy_(values)
        self.queued = [one for one in self.queued if all(one is not done for done in copies)]

    def synchronize(self) -> None:
        """Wait for the whole queue."""
        machine().note_wait()
        self.carry_out(self.queued)

    def record_event(self, event: PretendEvent | None = None) -> PretendEvent:
        """An event at the end of the queue."""
        event = event or PretendEvent()
        event.record(self)
        return event

    def wait_stream(self, stream: PretendStream) -> None:
        """Nothing: what the other stream was given is done."""

    def wait_event(self, event: PretendEvent) -> None:
        """As `wait_stream`."""

    def is_capturing(self) -> bool:
        """Whether a graph is recorded: never."""
        return False


class PretendEvent:
    """A place in a stream's queue."""

    def __init__(self, **_: object) -> None:
        self._before: list[Copy] = []

    def record(self, stream: PretendStream | None = None) -> None:
        """Take the end of the queue."""
        self._stream = stream or machine().stream
        self._before = [*self._stream.queued]

    def synchronize(self) -> None:
        """Wait for what was queued before."""
        machine().note_wait()
        self._stream.carry_out(self._before)


def line() -> str:
    """The innermost line of this project, tests included, as `folder/module.py:number`."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        root = next((root for root in ROOTS if name.startswith(root)), None)
        if root and ".venv" not in name and Path(name).stem not in OURS:
            return f"{name[len(root) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
