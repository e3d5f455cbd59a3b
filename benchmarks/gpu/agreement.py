"""Items that compare the device with the CPU: tests, blocks of one forward, caches of the same images."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ground import PRECISIONS, ROOT, Ground, remove

from textdiff import extract_features
from textdiff.components import FeatureReader, UNetRecorder

N_IMAGES = 10
"""Of which the CPU and the device make a cache each."""


def tests(ground: Ground) -> dict[str, Any]:
    """`pytest -m gpu` in a process of its own: what it counted, and which tests failed."""
    # Other versions of the libraries warn of other things, which are no failures here.
    flags = ("-m", "gpu", "-o", "filterwarnings=", "-p", "no:cacheprovider", "-rfE", "--tb=short")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/gpu", *flags, "--device", ground.device, *ground.scale.tests],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", (lines or [""])[-1])}
    return {
        "exit_status": done.returncode,
        **counts,
        "not_passed": [line[:300] for line in lines if line.startswith(("FAILED", "ERROR"))],
        "end": [] if done.returncode == 0 else [*lines[-60:], *done.stderr.splitlines()[-5:]],
    }


def blocks(ground: Ground) -> dict[str, Any]:
    """Largest difference from the CPU's float32, as a share of a block's largest value, by precision and TF32."""
    size, timesteps = ground.scale.image_size, ground.scale.timesteps[:1]
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(1, 3, size, size, generator=generator) for _ in range(2))

    def record(recorder: UNetRecorder) -> dict[int, torch.Tensor]:
        return {block: a.float().cpu() for block, a in recorder.record(images, timesteps, noise).items()}

    expected = record(ground.recorder("float32", "cpu"))
    ways = [("float32", False), ("float32", True), *((name, False) for name in PRECISIONS if name != "float32")]
    found = {}
    for precision, tf32 in ways:
        with tf32_allowed(allowed=tf32):
            maps = record(ground.recorder(precision))
        name = f"{precision}, TF32" if tf32 else precision
        found[name] = {block: largest_difference(maps[block], expected[block]) for block in expected}
    return {"largest_difference": found}


def largest_difference(found: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> float:
    """Of two arrays, as a share of the largest value expected."""
    return float(abs(found - expected).max() / abs(expected).max())


@contextmanager
def tf32_allowed(*, allowed: bool) -> Iterator[None]:
    """Have CUDA round the factors of float32 products to TF32, or not."""
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = allowed
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def caches(ground: Ground) -> dict[str, Any]:
    """Largest difference by block of the stored features of the same images, made on the CPU and on the device."""
    n = min(N_IMAGES, ground.scale.n_units * ground.scale.batches[1])
    settings = {"dtype": "float32", "precision": "float32", "timesteps": ground.scale.timesteps[:1]}
    config = ground.extraction("of-cpu", n, ground.scale.batches[0], **settings)
    readers = []
    for one in (replace(config, device="cpu"), replace(config, cache=ground.work / "of-device")):
        extract_features(one)
        readers.append(FeatureReader(one.cache))
    (timestep,) = config.timesteps
    of_cpu, of_device = (reader.read(config.blocks, [timestep], range(n)) for reader in readers)
    found = {
        block: largest_difference(of_device[block, timestep].activations, of_cpu[block, timestep].activations)
        for block in config.blocks
    }
    for reader in readers:
        remove(reader.root)
    return {"images": n, "largest_difference": found}
