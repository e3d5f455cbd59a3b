"""Preparation of a process that belongs to a command: its allocator, the guard on loaded models, niceness of threads.

The command line's `main` and Ray's workers call `prepare_process`. Nothing else does: no import, constructor or library
call changes the process that it runs in, but for CUDA's arithmetic (cuda.py).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading

from ...stages.sources.guard import install_guard

NICENESS = 10
"""Of threads that read files ahead of the model and write behind it."""
TRIM_THRESHOLD, TOP_PAD = 2**31 - 1, 2**28
"""Bytes; the first is the most that glibc takes, so that nothing is ever given back."""
NO_TELEMETRY = {"HF_HUB_DISABLE_TELEMETRY": "1"}
WORKER_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(TRIM_THRESHOLD),
    "MALLOC_TOP_PAD_": str(TOP_PAD),
    **NO_TELEMETRY,
}
"""Environment with the effect of `prepare_process` on a worker: its threads may have heaps of their own already, and
the hub's client may be imported, before it can call that."""
_prepared = threading.Event()


def prepare_process() -> None:
    """Prepare this process for one command; it must not be anybody else's."""
    for name, value in NO_TELEMETRY.items():  # read when the hub's client is imported: in commands' bodies alone
        os.environ.setdefault(name, value)
    keep_freed_memory()
    install_guard()
    _prepared.set()


def keep_freed_memory() -> None:
    """Have glibc reuse the memory of freed tensors in place of giving it back to the kernel.

    By default glibc maps every large tensor from the kernel, which then zeroes it page by page, and gives it back when
    it is freed: half of stage one's CPU time, measured at 256 pixels and 8 images a batch, and a fifth of a context
    head's training (docs/results.md). One heap for all threads: with one each, memory grows with the number of images,
    since activations are freed by another thread than made them. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8  # malloc.h
        mallopt(m_arena_max, 1)
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, TRIM_THRESHOLD)
        mallopt(m_top_pad, TOP_PAD)


def give_way() -> None:
    """Lower this thread's priority below that of the model's threads, in a prepared process on Linux.

    Elsewhere than on Linux niceness is the whole process's.
    """
    if _prepared.is_set() and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
