"""A pretend CUDA device: its tensors say `cuda:0`, compute on the CPU, and count what a real device would be asked for.

    with pretend_device() as traffic:
        train_head(replace(config, device="cuda"))
    assert traffic.waits.total() < 10

Like CUDA it refuses operations on tensors of both devices. Other than CUDA it fills a host tensor that a copy was
queued into with NaN until the copy is waited for, so that nobody reads it too early unnoticed.

The tensors are wrappers (torch's wrapper subclasses). To C++ they are CPU tensors, so that autograd needs no driver;
`__torch_dispatch__` gets every operation on them, and a mode the operations of CPU tensors and the factory functions.
Arithmetic is the CPU's, that of autocast included. A copy to the host has no gradient. The names of torch that ask for
a device are replaced by those of pretend_torch.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from cuda_settings import restored
from pretend_machine import Machine, Traffic, line, machine, present
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda", 0)
WAIT = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::allclose",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::_linalg_check_errors",
    "aten::repeat_interleave",
}  # fmt: skip
"""Operations for whose result the host waits: a number, or a size that depends on numbers."""
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}


class PretendTensor(torch.Tensor):
    """A tensor of the device."""

    values: torch.Tensor
    """On the CPU."""
    device = property(lambda self: DEVICE)
    is_cuda, is_cpu = property(lambda self: True), property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> PretendTensor:
        """The tensor with these values."""
        with torch.inference_mode(values.is_inference()):  # a view of a normal tensor is one wherever it is made
            tensor = torch.Tensor._make_wrapper_subclass(
                cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(),
                dtype=values.dtype, layout=values.layout, device=values.device, requires_grad=False,
            )  # fmt: skip
        tensor.values = values
        return tensor

    def __repr__(self) -> str:
        return f"PretendTensor({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(machine(), func, args, kwargs or {})


class PretendMode(TorchDispatchMode):
    """Operations without a tensor of the device: factory functions, and copies to it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(machine(), func, args, kwargs or {})


def values_of(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a tensor of either device."""
    return tensor.values if isinstance(tensor, PretendTensor) else tensor


@cache
def _facts(func: Any) -> tuple[str, bool, bool]:
    """An operation's name, whether it is made of others, and whether it changes the shape of what it is given."""
    composite = func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)
    return func._schema.name, composite, torch.Tag.inplace_view in func.tags


def _run(machine: Machine, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, composite, _ = _facts(func)
    if composite:  # in inference mode; otherwise its parts come here
        with PretendMode():
            return func.decompose(*args, **kwargs)
    if name == "aten::_to_copy":
        return _to_copy(machine, func, args[0], kwargs)
    if name == "aten::copy_":
        return _copy(machine, *args, **kwargs)
    given = [*_tensors(args), *_tensors(kwargs.values())]
    on_device = any(isinstance(tensor, PretendTensor) for tensor in given)
    if name in ("aten::is_pinned", "aten::_pin_memory") and not on_device:
        return machine.is_pinned(args[0]) if name == "aten::is_pinned" else machine.pin(args[0].clone())
    if on_device:
        _refuse_mixture(machine, name, args, given)
        machine.traffic.kernels[name] += 1
        if name in WAIT or _picks_by_mask(name, args):
            machine.note_wait()
            machine.stream.carry_out(machine.stream.queued)
    return _compute(machine, func, args, kwargs, on_device=on_device)


def _compute(machine: Machine, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, on_device: bool) -> Any:
    kwargs, generator = dict(kwargs), kwargs.get("generator")
    if _is_ours(kwargs.get("device")):
        on_device, kwargs["device"] = True, torch.device("cpu")
    if generator is not None and (generator._cdata in machine.generators) != on_device:
        raise RuntimeError(f"{func} got a generator of the other device at {line()}")
    pinned = kwargs.pop("pin_memory", False)
    wrappers = {id(one.values): one for one in _tensors(args) if isinstance(one, PretendTensor)}
    out = func(*_map(values_of, args), **{name: _map(values_of, value) for name, value in kwargs.items()})
    if pinned:
        machine.pin(out)
    if on_device and _facts(func)[2]:
        with torch._C._DisableTorchDispatch():
            func(*args)  # the wrapper's own shape
    # Where a tensor is changed in place, the wrapper that was given is the result.
    return _map(lambda one: wrappers[id(one)] if id(one) in wrappers else PretendTensor(one), out) if on_device else out


def _to_copy(machine: Machine, func: Any, source: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
    """A copy of another dtype, or from the host to the device; those to the host come from `pretend_torch.moved`."""
    kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    target, queued = kwargs.pop("device", None), kwargs.pop("non_blocking", False)
    if target is not None and torch.device(target).type == "meta":
        return func(values_of(source), device=target, **kwargs)
    on_device = isinstance(source, PretendTensor)
    if on_device:
        machine.traffic.kernels["aten::_to_copy"] += 1
    elif _is_ours(target):
        machine.count_copy(machine.traffic.to_device, source, queued=queued)
    out = func(values_of(source), **kwargs)
    return PretendTensor(out) if on_device or _is_ours(target) else out


def _copy(machine: Machine, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    to_device, from_device = isinstance(target, PretendTensor), isinstance(source, PretendTensor)
    if from_device and not to_device:
        return machine.send_back(target, values_of(source), queued=non_blocking)
    if to_device and not from_device:
        machine.count_copy(machine.traffic.to_device, source, queued=non_blocking)
    elif to_device:
        machine.traffic.kernels["aten::copy_"] += 1
    values_of(target).copy_(values_of(source))
    return target


def _refuse_mixture(machine: Machine, name: str, args: tuple[Any, ...], given: list[torch.Tensor]) -> None:
    foreign = [one for one in given if not isinstance(one, PretendTensor) and one.dim() > 0]
    if foreign and name in INDEXING and isinstance(args[0], PretendTensor):
        for one in _tensors((args[1],)):
            if not isinstance(one, PretendTensor):  # CUDA takes indices of the CPU: it copies them
                machine.count_copy(machine.traffic.to_device, one, queued=False)
    elif foreign:
        raise RuntimeError(f"{name} got tensors on cuda:0 and cpu at {line()}")


def _picks_by_mask(name: str, args: tuple[Any, ...]) -> bool:
    """Whether the size of the result, or the number of values that are set, depends on a mask."""
    picks = name in INDEXING and (len(args) < 3 or args[2].numel() > 1)
    return picks and any(one.dtype in (torch.bool, torch.uint8) for one in _tensors(args[1]))


def _is_ours(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _map(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    return type(value)(_map(change, one) for one in value) if type(value) in (list, tuple) else value


@contextmanager
def pretend_device() -> Iterator[Traffic]:
    """A machine with one CUDA device, for all threads that are started inside; yields what it counts."""
    from pretend_torch import replacements

    _device_constructors()  # remembers the functions that it finds: let them be torch's own
    with restored(), ExitStack() as stack:
        present.append(machine := Machine())
        stack.callback(present.remove, machine)
        for owner, names in replacements(machine):
            stack.enter_context(patch.multiple(owner, **names))
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # `.data =` would not reach `values`
        stack.enter_context(PretendMode())
        yield machine.traffic
