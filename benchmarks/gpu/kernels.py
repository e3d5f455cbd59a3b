"""Kernels of a profile: their kinds by name, the time that none of them runs, and copies beside others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KINDS = {
    "copy to or from the host": r"memcpy|memset",
    "transpose": r"nchw.?to.?nhwc|nhwc.?to.?nchw|transpose|permute|contiguous",
    "norm": r"norm|welford|rowwise.?moments|reduce_kernel|addcmul|::mean|::square",
    "attention": r"flash|fmha|attention|softmax",
    "convolution": r"conv|implicit|fprop|winograd|im2col",
    "matrix product": r"gemm|gemv|cutlass|cublas|nvjet|addmm|matmul|linear|\bbmm",
    "cast or copy": r"copy_kernel|cast|::to\b|to_copy|::copy_",
    "elementwise": r"elementwise|vectorized|silu|aten::(add|mul|div|sub|cat)|catarray|interpolat|upsample|triton",
}
"""Kind → pattern of names; the first that fits counts."""


@dataclass(frozen=True)
class Span:
    """One kernel's time on the device."""

    name: str
    start_us: float
    end_us: float

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is of; `other`: of none."""
        return next((kind for kind, names in KINDS.items() if re.search(names, self.name, re.IGNORECASE)), "other")


def summarise(spans: Sequence[Span]) -> dict[str, object]:
    """Time by kind, idle time, and how much of the copies ran beside other kernels, all as shares.

    Shares of kinds are of the kernels' time, idle is of the time from the first kernel's start to the last one's end,
    and overlap is of the time in which something is copied.
    """
    if not spans:
        raise ValueError("the profile has no kernels")
    by_kind, by_name = defaultdict[str, float](float), defaultdict[str, float](float)
    for span in spans:
        by_kind[span.kind] += span.end_us - span.start_us
        by_name[span.name] += span.end_us - span.start_us
    total = sum(by_kind.values()) or 1.0
    whole = max(span.end_us for span in spans) - min(span.start_us for span in spans)
    is_copy = [span.kind == "copy to or from the host" for span in spans]
    copies = covered(span for span, copied in zip(spans, is_copy, strict=True) if copied)
    others = covered(span for span, copied in zip(spans, is_copy, strict=True) if not copied)
    busy = covered(spans)
    return {
        "n_kernels": len(spans),
        "milliseconds": whole / 1e3,
        "idle": 1 - busy / whole if whole else 0.0,
        "shares": {kind: by_kind[kind] / total for kind in (*KINDS, "other") if kind in by_kind},
        "copies_beside_others": (copies + others - busy) / copies if copies else None,
        "longest": {name[:100]: us / total for name, us in sorted(by_name.items(), key=lambda one: -one[1])[:12]},
    }


def covered(spans: Iterable[Span]) -> float:
    """Microseconds in which at least one of the spans runs."""
    total, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda one: one.start_us):
        total += max(0.0, span.end_us - max(reached, span.start_us))
        reached = max(reached, span.end_us)
    return total
