"""Accelerators out of the tests' sight, so that `auto` is the CPU on every machine; `pytest -m gpu` alone sees them."""

from __future__ import annotations

import os
import re
import sys


def asks_for_gpu(expression: str) -> bool:
    """Whether pytest's `-m` asks for the tests that are marked `gpu`."""
    return bool(re.search(r"(?<!\bnot )\bgpu\b", expression))


def hide() -> None:
    """Hide CUDA from this process and from those that it starts, and Apple's MPS from this one and its forks.

    Before CUDA is initialised, which reads the variable once. No variable hides MPS.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if sys.platform == "darwin":
        import torch

        torch.backends.mps.is_available = lambda: False
