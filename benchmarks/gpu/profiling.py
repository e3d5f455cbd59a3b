"""Item about kernels: those of the last units of an extraction, when all runs evenly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devices import synchronise
from extract import run_command
from ground import Ground, forward_replaced, remove
from kernels import Span, summarise
from record import NotHere
from torch.profiler import ProfilerActivity, profile

N_TRIAL_UNITS, N_PROFILED = 2, 3
"""Units that a command tries on CUDA before the first, and units to look at."""


def kernels_of_extraction(ground: Ground, precision: str) -> dict[str, Any]:
    """Kinds of kernels, idle time and overlap in the last units of the command, their copies and writes included."""
    ground.require_precision(precision)
    batch, n_units = ground.scale.batches[0], ground.scale.n_units
    config = ground.extraction("cache", n_units * batch, batch, precision=precision)
    remove(config.cache)
    taken = profile(activities=[ProfilerActivity.CUDA if ground.on_cuda else ProfilerActivity.CPU])
    waiting = n_units - N_PROFILED + (N_TRIAL_UNITS if ground.on_cuda else 0)

    def counted(record: Callable[..., object], *args: object, **named: object) -> object:
        nonlocal waiting
        if waiting == 0:
            synchronise(ground.device)
            taken.start()
        waiting -= 1
        return record(*args, **named)

    with forward_replaced(counted):
        run_command(config)
    if waiting >= 0:
        raise NotHere(f"the command had {waiting + 1} forwards too few for a profile")
    synchronise(ground.device)
    taken.stop()
    return {"precision": precision, "images": N_PROFILED * batch, **summarise(spans_of(taken, ground))}


def spans_of(taken: profile, ground: Ground) -> list[Span]:
    """The kernels of a profile; on the CPU the operations that are no part of others."""
    wanted = "CUDA" if ground.on_cuda else "CPU"
    return [
        Span(event.name, event.time_range.start, event.time_range.end)
        for event in taken.events()
        if event.device_type.name == wanted and event.cpu_parent is None
    ]
