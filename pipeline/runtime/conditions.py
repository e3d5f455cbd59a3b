"""Conditions that last bits depend on, beside settings and data: recorded with what is computed, and compared later.

They are no identity: work that was begun on one machine may be finished on another, which is said aloud.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from .cuda import cuda_conditions


def conditions_of(device: str) -> dict[str, str | int]:
    """Name of the device, threads and version of torch; of CUDA also cuDNN, driver and TF32."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability() if device == "cpu" else os.name,
        **cuda_conditions(device),
    }


def differences(before: Mapping[str, str | int], now: Mapping[str, str | int]) -> str:
    """Conditions that differ, as "device A100, now H100; threads 8, now 4"; "" where none do.

    A condition that was not recorded is not compared.
    """
    names = [name for name in before if name in now and before[name] != now[name]]
    return "; ".join(f"{name.replace('_', ' ')} {before[name]}, now {now[name]}" for name in names)
