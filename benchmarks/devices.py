"""The device of a benchmark, and time on it: kernels run beside the program, so that a clock waits for them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Give a command line its `--device`: a GPU where there is one, unless it is named."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def synchronise(device: str) -> None:
    """Wait until the device has done all that it was given; the CPU has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def timed(work: Callable[[], Result], device: str) -> tuple[Result, float]:
    """The result of `work`, and the seconds until the device had done it."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return result, time.perf_counter() - started
