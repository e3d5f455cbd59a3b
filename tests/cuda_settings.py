"""Settings of CUDA's arithmetic, which are the process's: a test that makes them leaves them as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from textdiff.pipeline.runtime.cuda import set_arithmetic


def settings() -> dict[str, Any]:
    """The settings, by names."""
    return {
        "TF32 of products": torch.backends.cuda.matmul.allow_tf32,
        "TF32 of convolutions": torch.backends.cudnn.allow_tf32,
        "chosen by timing": torch.backends.cudnn.benchmark,
        "deterministic convolutions": torch.backends.cudnn.deterministic,
        "cuDNN's attention": torch.backends.cuda.cudnn_sdp_enabled(),
        "memory filled": torch.utils.deterministic.fill_uninitialized_memory,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "errors are warnings": torch.is_deterministic_algorithms_warn_only_enabled(),
        "workspaces": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


@contextmanager
def restored() -> Iterator[None]:
    """A block in which nobody has made the settings yet, and after which they are as before."""
    before = settings()
    set_arithmetic.cache_clear()
    try:
        with patch.dict(os.environ):
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
            yield
    finally:
        set_arithmetic.cache_clear()
        torch.backends.cuda.matmul.allow_tf32 = before["TF32 of products"]
        torch.backends.cudnn.allow_tf32 = before["TF32 of convolutions"]
        torch.backends.cudnn.benchmark = before["chosen by timing"]
        torch.backends.cudnn.deterministic = before["deterministic convolutions"]
        torch.backends.cuda.enable_cudnn_sdp(before["cuDNN's attention"])
        torch.utils.deterministic.fill_uninitialized_memory = before["memory filled"]
        torch.use_deterministic_algorithms(before["deterministic"], warn_only=before["errors are warnings"])
