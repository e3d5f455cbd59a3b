"""Arithmetic of CUDA devices: float32 without TF32, and equal bytes from equal work on GPUs of one model.

The settings are the process's. `resolve_device` makes them, once, where a command comes by its device; on the CPU and
on MPS nothing is set.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""cuBLAS is deterministic with workspaces of fixed sizes alone; it reads the variable when it starts."""
DRIVER = Path("/proc/driver/nvidia/version")


@cache
def set_arithmetic() -> None:
    """Have CUDA compute float32 in float32, and always with the same algorithm.

    - TF32 is off in matrix products and convolutions (torch leaves it on in convolutions).
    - cuDNN takes deterministic algorithms, by its heuristics: with `benchmark` the choice is a matter of timing.
    - torch takes deterministic algorithms, and raises RuntimeError of operations that have none. Flash and
      memory-efficient attention have a deterministic backward then; cuDNN's attention is left out. Bilinear
      interpolation is computed by gathers, whose backward is deterministic.

    Where other code of the process used CUDA before, cuBLAS may have started without `WORKSPACE`: torch then warns
    of what is not deterministic, and goes on.
    """
    name, sizes = WORKSPACE
    too_late = torch.cuda.is_initialized() and name not in os.environ
    os.environ.setdefault(name, sizes)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.enable_cudnn_sdp(False)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # nothing here reads memory that was never written
    torch.use_deterministic_algorithms(True, warn_only=too_late)


def cuda_conditions(device: str) -> dict[str, str | int]:
    """Conditions of a CUDA device that last bits depend on; none of another device."""
    if not device.startswith("cuda"):
        return {}
    return {"cudnn": torch.backends.cudnn.version() or 0, "driver": _driver(), "tf32": torch.backends.cudnn.allow_tf32}


def _driver() -> str:
    """Version of NVIDIA's driver; `unknown` where the system does not show it."""
    found = re.search(r"\d+\.\d[\d.]*", DRIVER.read_text(encoding="utf-8")) if DRIVER.is_file() else None
    return found.group() if found else "unknown"
