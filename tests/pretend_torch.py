"""The names of torch that ask for a device, as they are while there is a pretend device (pretend_device.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from pretend_device import DEVICE, PretendMode, PretendTensor, values_of
from pretend_machine import Machine, PretendEvent, PretendStream, machine

_TO, _NUMPY, _TOLIST, _ONE_HOT = torch.Tensor.to, torch.Tensor.numpy, torch.Tensor.tolist, torch.nn.functional.one_hot
_GROUP = torch._C._group_tensors_by_device_and_dtype
PROPERTIES = SimpleNamespace(name="Pretend", total_memory=80 * 2**30, major=9, minor=0, multi_processor_count=132)


def moved(tensor: torch.Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> torch.Tensor:
    """As `Tensor.to`."""
    if args and isinstance(args[0], torch.Tensor):
        device, dtype, queued, memory_format = args[0].device, args[0].dtype, kwargs.get("non_blocking", False), None
    else:
        device, dtype, queued, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    kept = {"memory_format": memory_format or torch.preserve_format}
    if device is not None and device.type == "meta":
        return _TO(values_of(tensor), device, dtype, **kept)
    if device is None or device.type == tensor.device.type:
        return _TO(tensor, dtype=dtype, copy=copy, **kept)
    if not isinstance(tensor, PretendTensor):
        return torch.ops.aten._to_copy.default(tensor, dtype=dtype, device=device, non_blocking=queued, **kept)
    values = _TO(tensor.detach(), dtype=dtype, **kept).values
    host = torch.empty_like(values)
    return machine().send_back(machine().pin(host) if queued else host, values, queued=queued)


def numpy(tensor: torch.Tensor, *, force: bool = False) -> Any:
    """As `Tensor.numpy`."""
    if isinstance(tensor, PretendTensor):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first")
    return _NUMPY(tensor, force=force)


def one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    """As `F.one_hot`, which checks the classes on the CPU alone."""
    if not isinstance(tensor, PretendTensor) or num_classes < 0:
        return _ONE_HOT(tensor, num_classes)
    return tensor.new_zeros(*tensor.shape, num_classes).scatter_(-1, tensor[..., None], 1)


def _factory(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function that copies what it is given: its C++ does so out of our sight."""

    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        if isinstance(data, PretendTensor):
            return moved(data, device, *args, **kwargs)
        tensor = make(data, *args, **kwargs)
        return tensor if device is None else moved(tensor, device)

    return made


def group_tensors(lists: list[list[Any]], with_indices: bool = False) -> dict[tuple[torch.device, Any], Any]:
    """As the function that optimisers and the clipping of gradients group tensors by."""
    groups = _GROUP(lists, with_indices)
    on_device = any(isinstance(tensor, PretendTensor) for tensor in lists[0])
    return {(DEVICE, dtype): of for (_, dtype), of in groups.items()} if on_device else groups


class PretendAutocast(torch.autocast):
    """Autocast; that of the CPU for the device."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **kwargs)


class PretendGenerator(torch.Generator):
    """A generator of random numbers for either device."""

    def __new__(cls, device: Any = "cpu") -> PretendGenerator:
        """A generator of the CPU; the machine knows those for the device."""
        generator = super().__new__(cls)
        if torch.device(device).type == DEVICE.type:
            machine().generators[generator._cdata] = generator  # C++ gives another object for the same generator
        return generator

    device = property(lambda self: DEVICE if self._cdata in machine().generators else torch.device("cpu"))


def _in_mode(run: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def run_in_mode(thread: threading.Thread) -> None:
        with PretendMode():
            run(thread)

    return run_in_mode


def _of_tensors() -> Mapping[str, Any]:
    return {
        "to": moved,
        "type_as": moved,
        "cpu": lambda tensor, **_: moved(tensor, "cpu"),
        "cuda": lambda tensor, device=DEVICE, non_blocking=False: moved(tensor, device, non_blocking=non_blocking),
        "numpy": numpy,
        "tolist": lambda tensor: _TOLIST(moved(tensor, "cpu")),
        "new_tensor": lambda tensor, data, **kw: torch.tensor(data, **{"device": tensor.device} | kw),
        "record_stream": lambda tensor, stream: None,
    }


def _of_cuda(machine: Machine) -> Mapping[str, Any]:
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_name": lambda *_: PROPERTIES.name,
        "get_device_capability": lambda *_: (PROPERTIES.major, PROPERTIES.minor),
        "get_device_properties": lambda *_: PROPERTIES,
        "mem_get_info": lambda *_: (PROPERTIES.total_memory, PROPERTIES.total_memory),
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "is_current_stream_capturing": lambda: False,
        "synchronize": machine.synchronize,
        "current_stream": lambda *_: machine.stream,
        "stream": machine.using,
        "Stream": PretendStream,
        "Event": PretendEvent,
    }


def replacements(machine: Machine) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """What takes the place of names: the object that has them, and their values."""
    yield torch.cuda, _of_cuda(machine)
    yield torch.accelerator, {"current_stream": lambda *_: machine.stream}
    yield torch.Tensor, _of_tensors()
    yield torch._C, {"_group_tensors_by_device_and_dtype": group_tensors}
    yield torch.nn.functional, {"one_hot": one_hot}
    yield torch, {"tensor": _factory(torch.tensor), "as_tensor": _factory(torch.as_tensor)}
    yield torch, {"autocast": PretendAutocast, "Generator": PretendGenerator}
    yield threading.Thread, {"run": _in_mode(threading.Thread.run)}
