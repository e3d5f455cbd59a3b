"""The device of a command, never silently another, and the arithmetic that suits it."""

from __future__ import annotations

import platform
from typing import Literal, TypeVar

import torch

from ...errors import ConfigError
from .cuda import set_arithmetic

Asked = TypeVar("Asked", bound=str)
"""`auto` or a precision."""


def resolve_device(name: str) -> str:
    """The best device of this machine for `auto`, else the named one; CUDA is set to compute as promised.

    Raises:
        ConfigError: if the named device does not exist on this machine.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present += ["mps"]
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if device in present)
    if name not in present:
        raise ConfigError(f"--device got {name!r}; this machine has {', '.join(present)} (or give auto)")
    if name.startswith("cuda"):
        set_arithmetic()
    return name


def resolve_precision(asked: Asked, device: str) -> Asked | Literal["bfloat16", "float32"]:
    """The precision asked for; of `auto` bfloat16 where the device computes it natively, float32 elsewhere."""
    if asked != "auto":
        return asked
    return "bfloat16" if computes_bfloat16(device) else "float32"


def computes_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16: where it has none, bfloat16 is slower than float32.

    Of CUDA devices those of compute capability 8.0 (Ampere) on. Of CPUs, with torch's oneDNN: x86 with AVX512-BF16 or
    AMX, and Arm with its bf16 extension. Of Apple's MPS none: nobody has measured it.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in {"arm64", "aarch64"}:
        # On x86 the same question is answered by yes where oneDNN emulates it.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
