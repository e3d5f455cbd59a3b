"""Item about memory: how much a forward takes, and the command's message where there is too little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from extract import bare_forwards, run_command
from ground import PRECISIONS, WEIGHTS, Ground, forward_replaced, size_of

from textdiff.components import UNetRecorder

GIBIBYTE = 2**30


def memory(ground: Ground) -> dict[str, Any]:
    """Peak memory of a forward by batch, and the message where memory does not suffice."""
    peaks = {}
    for precision in [name for name in ("bfloat16", WEIGHTS) if name in PRECISIONS]:
        recorder = ground.recorder(precision)
        for batch in ground.scale.batches:
            peaks[f"{precision} {batch}"] = peak_gb(recorder, ground, batch)
        del recorder
    return {"peak_gb": peaks, "too_little_memory": too_little(ground)}


def peak_gb(recorder: UNetRecorder, ground: Ground, batch: int) -> float | str:
    """Peak of allocated memory in a forward, weights included, or why there is none."""
    config = ground.extraction("cache", batch, batch)
    if ground.on_cuda:
        torch.cuda.reset_peak_memory_stats(ground.device)
    try:
        bare_forwards(recorder, config, batch)
    except RuntimeError as error:  # too little memory, or more elements than an index of 32 bits counts
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return torch.cuda.max_memory_allocated(ground.device) / 1e9 if ground.on_cuda else f"not known on {ground.device}"


def too_little(ground: Ground) -> dict[str, Any]:
    """Exit status and last line of a command whose memory does not suffice, and whether it left anything."""
    largest = ground.scale.batches[2]
    config = replace(ground.extraction("starved", largest, largest), precision="float32")
    with starved(ground), redirect_stderr(StringIO()) as told:
        try:
            run_command(config)
            status: Any = 0
        except SystemExit as ended:
            status = ended.code
    lines = told.getvalue().strip().splitlines()
    return {"exit_status": status, "last_line": lines[-1] if lines else "", "left_behind": config.cache.exists()}


@contextmanager
def starved(ground: Ground) -> Iterator[None]:
    """On CUDA little more memory than the weights need; elsewhere a forward that finds none."""
    if ground.on_cuda:
        torch.cuda.empty_cache()
        weights = size_of(Path(ground.unet.partition(":")[2]))
        total = torch.cuda.get_device_properties(ground.device).total_memory
        share = (torch.cuda.memory_reserved(ground.device) + weights + GIBIBYTE) / total
        index = torch.cuda.device(ground.device).idx  # the only name that the function takes
        torch.cuda.set_per_process_memory_fraction(share, index)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, index)
        return
    with forward_replaced(fails):
        yield


def fails(*_: object, **__: object) -> None:
    """As a forward that finds no memory."""
    raise torch.OutOfMemoryError("as on a GPU")
