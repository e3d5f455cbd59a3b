"""The GPU list: its items, the most valuable first."""

from __future__ import annotations

from functools import partial

import agreement
import memory
import profiling
import stage_one
import stage_two
from ground import WEIGHTS
from record import Item


def _efficiency(name: str, seconds: float, precision: str, size: int, *, compiled: bool = False) -> Item:
    return Item(name, seconds, partial(stage_one.efficiency, precision=precision, size=size, compiled=compiled))


ITEMS = (
    Item("machine", 15, stage_one.machine),
    Item("tests", 75, agreement.tests),
    _efficiency("efficiency-8-autocast", 60, "bfloat16", 0),
    _efficiency("efficiency-8-weights", 45, WEIGHTS, 0),
    _efficiency("efficiency-32-weights", 50, WEIGHTS, 1),
    Item("profile-autocast", 25, partial(profiling.kernels_of_extraction, precision="bfloat16")),
    Item("profile-weights", 25, partial(profiling.kernels_of_extraction, precision=WEIGHTS)),
    Item("extraction-bytes", 70, stage_one.equal_bytes),
    Item("training-bytes", 100, stage_two.equal_bytes),
    Item("blocks", 60, agreement.blocks),
    Item("memory", 45, memory.memory),
    Item("ensemble", 25, stage_two.ensemble),
    _efficiency("efficiency-32-autocast", 50, "bfloat16", 1),
    Item("caches", 60, agreement.caches),
    _efficiency("compile-8-autocast", 150, "bfloat16", 0, compiled=True),
    _efficiency("compile-8-weights", 150, WEIGHTS, 0, compiled=True),
    Item("pretraining", 120, stage_two.pretraining),
)
