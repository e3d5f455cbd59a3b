"""How the C library handles the memory of large tensors on the CPU.

By default glibc maps every large tensor from the kernel, which then zeroes it page by page, and gives it back when it
is freed: half of stage one's CPU time, measured at 256 pixels and 8 images a batch, and a fifth of a context head's
training (docs/results.md). One heap for all threads: with one each, memory grows with the number of images, since
activations are freed by another thread than made them. Elsewhere than on glibc nothing happens.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD = 2**31 - 1, 2**28
"""Bytes; the first is the most that glibc takes, so that nothing is ever given back."""
KEEPING = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(TRIM_THRESHOLD),
    "MALLOC_TOP_PAD_": str(TOP_PAD),
}
"""The same as `keep_freed_memory`, for the environment of a process that starts with threads of its own."""


def keep_freed_memory() -> None:
    """Have glibc reuse the memory of freed tensors in place of giving it back to the kernel."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8  # malloc.h
        mallopt(m_arena_max, 1)
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, TRIM_THRESHOLD)
        mallopt(m_top_pad, TOP_PAD)
