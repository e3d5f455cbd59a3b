"""Copies to a device, queued behind its work: the host goes on, and prepares what the device needs next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from .prefetch import prefetch

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Values = TypeVar("Values")


def to_device(values: Values, device: str) -> Values:
    """The same values with their tensors on a device.

    A copy to a CUDA device is queued. That takes pinned memory: from pageable memory, the host would wait for it, and
    for all that was queued before. Apple's MPS shares the host's memory and has none that is pinned.

    Args:
        values: a tensor, or a mapping, list, tuple or dataclass of such values; anything else stays as it is.
        device: where to.
    """
    return cast("Values", _moved(values, device))


def ahead(load: Callable[[Item], Loaded], items: Iterable[Item], device: str) -> Iterator[Loaded]:
    """`map(load, items)`, in order; beside the work of a GPU, one item is loaded ahead in a thread of its own.

    Where the CPU computes, a thread beside it would only be in its way.
    """
    return map(load, items) if device == "cpu" else prefetch(load, items, 1)


def memory_bytes(device: str) -> int:
    """The whole memory of a GPU, whoever uses it: the same on all GPUs of a model."""
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    return int(torch.cuda.get_device_properties(device).total_memory)


def _moved(values: Any, device: str) -> Any:  # noqa: ANN401
    if isinstance(values, Tensor):
        if values.device.type != "cpu" or not device.startswith("cuda"):
            return values.to(device)
        return values.pin_memory().to(device, non_blocking=True)
    if isinstance(values, Mapping):
        return {key: _moved(value, device) for key, value in values.items()}
    if isinstance(values, list | tuple):
        moved = [_moved(value, device) for value in values]
        return type(values)(*moved) if hasattr(values, "_fields") else type(values)(moved)
    if is_dataclass(values) and not isinstance(values, type):
        return replace(values, **{field.name: _moved(getattr(values, field.name), device) for field in fields(values)})
    return values
