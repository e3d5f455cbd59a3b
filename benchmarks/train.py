"""How long an epoch of `train-head` takes, and how much memory of its own the process needs.

    python benchmarks/train.py CACHE [--epochs 5] [--json]

Trains a head with the default settings as `train-head` does, and writes nothing. Memory is measured as
`peak_memory.py` says; VmHWM, which counts pages of the mapped cache too, grows with the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peak_memory import Phase, status_bytes

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.device import resolve_device
from textdiff.pipeline.fit import Fit
from textdiff.pipeline.head_config import TrainConfig
from textdiff.pipeline.head_data import open_head_data
from textdiff.pipeline.splits import choose_split


def main() -> None:
    """Train, and print times and memory."""
    args = parse_arguments()
    # Nothing is written: a `Fit` does not know of the run's folder.
    found = measure(TrainConfig(cache=args.cache, run=Path(os.devnull), epochs=args.epochs))
    print(json.dumps(found) if args.json else "\n".join(lines(found)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(config: TrainConfig) -> dict[str, Any]:
    """Train a head in three phases and measure each."""
    with Phase() as opening:
        imported_bytes = status_bytes("RssAnon")
        fit = open_fit(config)
    epochs = []
    for _ in range(config.epochs):
        with Phase() as epoch:
            fit.run_epoch()
        epochs.append(epoch)
    with Phase() as choosing:
        fit.finish()
    seconds = [epoch.seconds for epoch in epochs]
    return {
        "cache": str(config.cache),
        "device": resolve_device(config.device),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "epoch_s": statistics.median(seconds),
        "epochs_s": seconds,
        "open_s": opening.seconds,
        "choose_s": choosing.seconds,
        "imported_anon_bytes": imported_bytes,
        "open_peak_anon_bytes": opening.peak_bytes,
        "epochs_peak_anon_bytes": max(epoch.peak_bytes for epoch in epochs),
        "choose_peak_anon_bytes": choosing.peak_bytes,
        "peak_anon_bytes": max(phase.peak_bytes for phase in (opening, *epochs, choosing)),
        "vm_hwm_bytes": status_bytes("VmHWM"),
    }


def open_fit(config: TrainConfig) -> Fit:
    """The state of training before the first epoch, as `train_head` makes it."""
    reader = FeatureReader(config.cache)
    data = open_head_data(
        reader,
        blocks=config.blocks,
        timesteps=config.timesteps,
        text=config.text,
        seed=config.seed,
        device=resolve_device(config.device),
    )
    split = choose_split(reader, config)
    return Fit(data, split.train, split.val, config)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    yield f"{found['device']}, {found['threads']} threads, load average {found['load_average']:.1f}"
    yield (
        f"epoch: median {found['epoch_s']:.2f} s of {', '.join(f'{seconds:.2f}' for seconds in found['epochs_s'])}; "
        f"opening {found['open_s']:.2f} s, choosing the epoch on whole images {found['choose_s']:.2f} s"
    )
    phases = ", ".join(f"{_mb(found[f'{name}_peak_anon_bytes'])} {name}" for name in ("open", "epochs", "choose"))
    yield (
        f"peak anonymous memory: {_mb(found['peak_anon_bytes'])} ({phases}; {_mb(found['imported_anon_bytes'])} "
        "after the imports)"
    )
    yield f"VmHWM, pages of the mapped cache included: {_mb(found['vm_hwm_bytes'])}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
