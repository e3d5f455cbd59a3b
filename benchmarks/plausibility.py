"""Refusal of figures that cannot be true: a benchmark that has come to measure something else ends with 1 and one line.

Each benchmark gives the problems of its result (`implausible`). Bounds are such as no honest run can break: shares lie
in [0, 1], parts make up the whole, n processes are at most n times as fast as one. They say nothing of good and bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MARGIN = 1.1
"""Of a ratio that can be at most 1, for a machine's drift between its two sides."""
MEMORY_MB_PER_S = 100_000
"""More than one process copies from memory to memory on any machine of today."""


def refuse(problems: Iterable[str]) -> None:
    """End with exit status 1 and one line on stderr, if there is a problem."""
    if found := list(problems):
        raise SystemExit(f"error: implausible figures, which measure something else: {'; '.join(found)}")


def outside(low: float, high: float, figures: Mapping[str, Any]) -> Iterator[str]:
    """Problems of figures, or of figures in lists and mappings, that are not in [low, high]; nan never is."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from outside(low, high, {f"{name} {part}": one for part, one in value.items()})
        elif isinstance(value, list | tuple):
            yield from outside(low, high, {f"{name} {place}": one for place, one in enumerate(value)})
        elif not low <= value <= high:
            yield f"{name} is {value:.4g}, expected {low:.4g} to {high:.4g}"


def not_positive(figures: Mapping[str, Any]) -> Iterator[str]:
    """Problems of times, sizes and counts that are 0 or less."""
    return outside(5e-324, float("inf"), figures)


def unequal(what: str, part: float, whole: float, tolerance: float = 0.0) -> Iterator[str]:
    """Problem of two figures that differ by more than a share of the second."""
    if not abs(part - whole) <= tolerance * abs(whole):
        yield f"{what}: {part:.6g} and {whole:.6g}, expected the same"
