"""Items of stage one: the machine's ceilings, extraction beside the bare forward, and equal bytes."""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from devices import timed
from extract import bare_forwards, run_command
from ground import Ground, remove, size_of
from torch.utils.flop_counter import FlopCounterMode

from textdiff.components import UNetRecorder
from textdiff.config import ExtractConfig


def machine(ground: Ground) -> dict[str, Any]:
    """Names, versions, and the rates that nothing here can exceed: matrix products, copies, the disk."""
    side, size = ground.scale.matrix, 4 * ground.scale.matrix**2
    on_device = torch.empty(size, dtype=torch.uint8, device=ground.device)
    on_host = torch.empty(size, dtype=torch.uint8, pin_memory=ground.on_cuda)
    rates = {}
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(side, side, device=ground.device, dtype=dtype) for _ in range(2))
        rates[str(dtype).removeprefix("torch.")] = 2 * side**3 / best_s(lambda a=a, b=b: a @ b, ground) / 1e12
    named = {"device": torch.cuda.get_device_name(ground.device)} if ground.on_cuda else {"device": platform.machine()}
    return {
        **named,
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda},
        "cudnn": torch.backends.cudnn.version(),
        "matmul_tflop_per_s": rates,
        "to_host_gb_per_s": size / best_s(lambda: on_host.copy_(on_device, non_blocking=True), ground) / 1e9,
        "to_device_gb_per_s": size / best_s(lambda: on_device.copy_(on_host, non_blocking=True), ground) / 1e9,
        "disk_gb_per_s": size / best_s(lambda: write(ground.work / "disk", on_host), ground) / 1e9,
    }


def best_s(work: Callable[[], object], ground: Ground, n: int = 10) -> float:
    """Seconds of the quickest of some runs after two more."""
    return min([timed(work, ground.device)[1] for _ in range(n + 2)][2:])


def write(path: Path, content: torch.Tensor) -> None:
    """Write a file durably."""
    with path.open("wb") as file:
        file.write(content.numpy())
        os.fsync(file.fileno())


def efficiency(ground: Ground, precision: str, size: int, *, compiled: bool = False) -> dict[str, Any]:
    """Images/s of the command and of the bare forward, and the latter's share of the ceiling.

    Args:
        ground: the list.
        precision: of the UNet.
        size: which of the scale's batches, from 0.
        compiled: whether through torch.compile.
    """
    ground.require_precision(precision)
    batch, n = ground.scale.batches[size], ground.scale.n_units * ground.scale.batches[size]
    whole = ground.extraction("cache", n, batch, precision=precision, compile=compiled)
    few = replace(whole, data=ground.manifest(batch))
    first_s, few_s, whole_s = (extracted_s(config, ground) for config in (few, few, whole))
    recorder = ground.recorder(precision, compiled=compiled)
    warm_s, *bare_s = (bare_forwards(recorder, whole, n) for _ in range(3))
    bare, loop = n / min(bare_s), (n - batch) / max(whole_s - few_s, 1e-6)
    tflop = flop_per_image(recorder, ground) / 1e12
    ceiling = ground.results.get("machine", {}).get("matmul_tflop_per_s", {}).get("bfloat16")
    return {
        "precision": precision,
        "batch": batch,
        "compiled": compiled,
        "images": n,
        "bare_images_per_s": bare,
        "loop_images_per_s": loop,
        "loop_per_bare": loop / bare,
        "tflop_per_image": tflop,
        "bare_tflop_per_s": tflop * bare,
        "bare_per_matmul_ceiling": tflop * bare / ceiling if ceiling else None,
        "first_call_s": first_s,
        "call_of_one_unit_s": few_s,
        "first_bare_s": warm_s,
        "mb_per_image": size_of(whole.cache) / n / 1e6,
    }


def extracted_s(config: ExtractConfig, ground: Ground) -> float:
    """Seconds of the command in this process, into a new folder."""
    remove(config.cache)
    return timed(lambda: run_command(config), ground.device)[1]


def flop_per_image(recorder: UNetRecorder, ground: Ground) -> float:
    """Operations of all timesteps of one image, counted on the meta device."""
    with FlopCounterMode(display=False) as counter:
        recorder.shapes(ground.scale.image_size)
    return counter.get_total_flops() * len(ground.scale.timesteps)


def equal_bytes(ground: Ground) -> dict[str, Any]:
    """Two extractions and one that is killed and resumed: whether their files are equal."""
    batch, n = 1 + ground.scale.batches[0] // 4, 4 * ground.scale.batches[0]
    names = ("one", "two", "killed")
    one, two, killed = (replace(ground.extraction(name, n, batch), cache=ground.work / name) for name in names)
    seconds = [extracted_s(config, ground) for config in (one, two)]
    kill(killed)
    run_command(replace(killed, resume=True))
    digests = [digests_of(config.cache) for config in (one, two, killed)]
    for config in (one, two, killed):
        remove(config.cache)
    return {
        "files": len(digests[0]),
        "two_are_equal": digests[0] == digests[1],
        "killed_and_resumed_is_equal": digests[0] == digests[2],
        "different": sorted(name for name in digests[0] if len({one.get(name) for one in digests}) > 1)[:20],
        "seconds": seconds,
    }


def kill(config: ExtractConfig) -> None:
    """Begin an extraction in a process of its own, and kill it in its second unit.

    Raises:
        RuntimeError: if it ended before.
    """
    remove(config.cache)
    imports = (
        "pathlib import Path, PosixPath",
        "textdiff import extract_features",
        "textdiff.config import ExtractConfig",
    )
    program = "\n".join([*(f"from {one}" for one in imports), f"extract_features({config!r})"])
    process = subprocess.Popen([sys.executable, "-c", program])
    while process.poll() is None:
        if any((config.cache / "features").glob("*/*/c/1/*")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError(f"the extraction that was to be killed ended with {process.returncode}")


def digests_of(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
