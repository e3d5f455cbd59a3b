"""The device of these tests, and small work on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from textdiff.pipeline.config.extraction import ExtractConfig


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """That of `--device`: a GPU, unless they are only tried."""
    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and pytest -m gpu, which alone shows it to tests")
    return name


@pytest.fixture
def cuda(device: str) -> str:
    """The device, for what has no meaning on another."""
    if not device.startswith("cuda"):
        pytest.skip(f"has no meaning on {device}")
    return device


@pytest.fixture
def here(extraction: ExtractConfig, device: str) -> ExtractConfig:
    """The settings of a small extraction on the device."""
    return replace(extraction, device=device)


@pytest.fixture(params=[False, True], ids=["no-tf32", "tf32"])
def tf32(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether matrix products and convolutions of float32 may round to TF32."""
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = request.param
    yield request.param
    for switch, allowed in zip(switches, before, strict=True):
        switch.allow_tf32 = allowed
