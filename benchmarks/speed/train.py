"""How long an epoch of `train-head` takes, and how much memory of its own the process needs.

    python benchmarks/speed/train.py CACHE [--head pixel|paper] [--blocks N,N,...] [--timesteps N,N,...]
        [--epochs 5] [--json]
    python benchmarks/speed/train.py CACHE --head pixel --against paper [--json]
    python benchmarks/speed/train.py CACHE --ensemble 8 --against pixel [--json]

Trains a head with the default settings as `train-head` does, and writes nothing. Memory is measured as
`peak_memory.py` says; VmHWM, which counts pages of the mapped cache too, grows with the cache.

With `--against`, epochs of both take turns in one process, and their ratio is that of the medians, for each head of an
ensemble. An epoch is what `train-head` calls one: the steps over all training images, and the check on the validation
images after them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from peak_memory import Phase, status_bytes

from textdiff.cache.reader import FeatureReader
from textdiff.errors import TextdiffError
from textdiff.pipeline.config.training import HeadKind, TextMode, TrainConfig
from textdiff.pipeline.runtime.device import resolve_device
from textdiff.pipeline.training.trainer import Trainer


def main() -> None:
    """Train, and print times and memory."""
    args = parse_arguments()
    # Nothing is written: a `Trainer` does not know of the run's folder.
    given = {name: getattr(args, name) for name in ("head", "ensemble", "timesteps", "blocks", "text", "epochs")}
    try:
        config = TrainConfig(args.cache, Path(os.devnull), **given)
        found = compare(config, replace(config, head=args.against, ensemble=1)) if args.against else measure(config)
    except TextdiffError as error:
        raise SystemExit(f"error: {error}") from error
    shown = lines_of_comparison(found) if args.against else lines(found)
    print(json.dumps(found) if args.json else "\n".join(shown))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    heads = get_args(HeadKind)
    parser.add_argument("--head", choices=heads, default="pixel")
    parser.add_argument("--ensemble", type=int, default=1, metavar="N", help="train this many heads at once")
    parser.add_argument("--against", choices=heads, help="time epochs of this head, alone, as well, and divide by them")
    parser.add_argument("--text", choices=get_args(TextMode), default="true")
    parser.add_argument("--blocks", type=numbers, metavar="N,N,...", help="all that are cached, unless given")
    parser.add_argument("--timesteps", type=numbers, metavar="N,N,...", help="all that are cached, unless given")
    parser.add_argument("--epochs", type=int, default=5, help="how many to time, of each head")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    return tuple(int(number) for number in text.split(","))


def measure(config: TrainConfig) -> dict[str, Any]:
    """Train a head in three phases and measure each."""
    with Phase() as opening:
        imported_bytes = status_bytes("RssAnon")
        trainer = Trainer.from_config(config, FeatureReader(config.cache))
    epochs = []
    for _ in range(trainer.n_epochs):
        with Phase() as epoch:
            trainer.run_epoch()
        epochs.append(epoch)
    with Phase() as choosing:
        trainer.finish()
    seconds = [epoch.seconds for epoch in epochs]
    return {
        **conditions(config),
        "head": name_of(config),
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


def compare(config: TrainConfig, against: TrainConfig) -> dict[str, Any]:
    """Time epochs of two heads, turn and turn about, so that whatever else runs meets both."""
    trainers = [Trainer.from_config(one, FeatureReader(one.cache)) for one in (config, against)]
    seconds: list[list[float]] = [[], []]
    for _ in range(trainers[0].n_epochs):
        for trainer, times in zip(trainers, seconds, strict=True):
            started = time.perf_counter()
            trainer.run_epoch()
            times.append(time.perf_counter() - started)
    medians = [statistics.median(times) for times in seconds]
    return {
        **conditions(config),
        "heads": [name_of(config), name_of(against)],
        "epoch_s": medians,
        "epochs_s": seconds,
        "ratio": medians[0] / medians[1],
        "ratio_per_head": medians[0] / medians[1] / config.ensemble,
    }


def name_of(config: TrainConfig) -> str:
    """The flags that say what is trained."""
    return f"--head {config.head}" + (f" --ensemble {config.ensemble}" if config.ensemble > 1 else "")


def conditions(config: TrainConfig) -> dict[str, Any]:
    """What the times depend on."""
    return {
        "cache": str(config.cache),
        "device": resolve_device(config.device),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
    }


def lines_of_comparison(found: dict[str, Any]) -> Iterator[str]:
    """The result of `compare` for people."""
    yield line_of_conditions(found)
    for head, median_s, seconds in zip(found["heads"], found["epoch_s"], found["epochs_s"], strict=True):
        yield f"{head}: epoch median {median_s:.3f} s of {', '.join(f'{one:.3f}' for one in seconds)}"
    ratio, per_head = found["ratio"], found["ratio_per_head"]
    more = f", {per_head:.4f} for each head" if per_head != ratio else ""
    yield f"one epoch of {' ÷ one epoch of '.join(found['heads'])}: {ratio:.4f}{more}"


def line_of_conditions(found: dict[str, Any]) -> str:
    """What the times depend on, for people."""
    return f"{found['device']}, {found['threads']} threads, load average {found['load_average']:.1f}"


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The result of `measure` for people."""
    yield f"{found['head']}, {line_of_conditions(found)}"
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
