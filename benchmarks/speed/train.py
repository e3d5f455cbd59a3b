"""Time of an epoch of `train-head`, and the process's own memory.

    python benchmarks/speed/train.py CACHE [--head pixel|context|paper] [--precision auto] [--blocks N,N,...]
        [--timesteps N,N,...] [--epochs 5] [--device NAME] [--json]
    python benchmarks/speed/train.py CACHE --head pixel --against paper [--json]
    python benchmarks/speed/train.py CACHE --ensemble 8 --against pixel [--json]
    python benchmarks/speed/train.py CACHE --head context --precision bfloat16 --against float32 [--json]

Trains a head with the default settings as `train-head` does, and writes nothing. An epoch is `train-head`'s: the steps
over all training images, several times where they are few, and the check on the validation images after them. Memory is
that of `peak_memory.py`; VmHWM, which counts pages of the mapped cache too, grows with the cache.

With `--against`, epochs of both heads (or of one in both precisions) take turns in one process; the first of each is
not counted. Their ratio is the median of the turns', for each head of an ensemble.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peak_memory import Phase, status_bytes

from textdiff.components import FeatureReader, Trainer
from textdiff.config import TrainConfig
from textdiff.errors import TextdiffError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from devices import add_device, timed
from plausibility import MARGIN, not_positive, outside, refuse

HEADS = ("pixel", "context", "paper")
PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Train, and print times and memory."""
    args = parse_arguments()
    # Nothing is written: a `Trainer` does not know of the run's folder.
    names = ("head", "ensemble", "precision", "timesteps", "blocks", "text", "epochs", "device")
    try:
        config = TrainConfig(args.cache, Path(os.devnull), **{name: getattr(args, name) for name in names})
        result = compare(config, other(config, args.against)) if args.against else measure(config)
    except TextdiffError as error:
        raise SystemExit(f"error: {error}") from error
    shown = lines_of_comparison(result) if args.against else lines(result)
    print(json.dumps(result) if args.json else "\n".join(shown))
    refuse(implausible_comparison(result) if args.against else implausible(result))


def other(config: TrainConfig, against: str) -> TrainConfig:
    """The settings to compare with: another head, alone, or another precision."""
    return replace(config, precision=against) if against in PRECISIONS else replace(config, head=against, ensemble=1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--head", choices=HEADS, default="pixel")
    parser.add_argument("--ensemble", type=int, default=1, metavar="N", help="train this many heads at once")
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto")
    against = "time epochs of this head, alone, or in this precision, as well, and divide by them"
    parser.add_argument("--against", choices=(*HEADS, *PRECISIONS), help=against)
    parser.add_argument("--text", choices=("true", "none", "shuffled"), default="true")
    parser.add_argument("--blocks", type=numbers, metavar="N,N,...", help="all that are cached, unless given")
    parser.add_argument("--timesteps", type=numbers, metavar="N,N,...", help="all that are cached, unless given")
    parser.add_argument("--epochs", type=int, default=5, help="how many to time, of each head")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    return tuple(int(number) for number in text.split(","))


def measure(config: TrainConfig) -> dict[str, Any]:
    """Train a head in three phases and measure each."""
    with Phase(config.device) as opening:
        imported_bytes = status_bytes("RssAnon")
        trainer = Trainer.from_config(config, FeatureReader(config.cache))
    epochs = []
    for _ in range(trainer.n_epochs):
        with Phase(config.device) as epoch:
            trainer.run_epoch()
        epochs.append(epoch)
    with Phase(config.device) as choosing:
        trainer.finish()
    seconds = [epoch.seconds for epoch in epochs]
    return {
        **conditions(trainer),
        "head": name_of(config, trainer),
        "losses": [row["loss"] for row in trainer.history],
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
    for turn in range(trainers[0].n_epochs):
        for trainer, times in list(zip(trainers, seconds, strict=True))[:: 1 if turn % 2 == 0 else -1]:
            times.append(timed(trainer.run_epoch, config.device)[1])
    # The first epoch also makes what is kept for the others; it counts where it is the only one.
    counted = [times[1:] or times for times in seconds]
    ratio = statistics.median(first / second for first, second in zip(*counted, strict=True))
    return {
        **conditions(trainers[0]),
        "heads": [name_of(one, trainer) for one, trainer in zip((config, against), trainers, strict=True)],
        "epoch_s": [statistics.median(times) for times in counted],
        "epochs_s": seconds,
        "n_heads": [config.ensemble, against.ensemble],
        "ratio": ratio,
        "ratio_per_head": ratio * against.ensemble / config.ensemble,
    }


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: phases without time or memory, and a training that learns nothing."""
    yield from not_positive({name: result[name] for name in ("open_s", "epochs_s", "choose_s", "losses")})
    if len(result["losses"]) > 1:  # the first holds that of random weights
        yield from outside(0, result["losses"][0], {"lowest loss after the first epoch": min(result["losses"][1:])})
    peaks = {name: result[f"{name}_peak_anon_bytes"] for name in ("open", "epochs", "choose")}
    yield from outside(0, result["peak_anon_bytes"], {"peak in bytes, of the whole": peaks})


def implausible_comparison(result: dict[str, Any]) -> Iterator[str]:
    """Problems: the same head compared with itself, no time, and several heads quicker than one of theirs."""
    first, second = result["heads"]
    if first == second:
        yield f"{first} is compared with itself"
    yield from not_positive({"epochs_s": result["epochs_s"]})
    if result["n_heads"][0] > result["n_heads"][1] and first.split(" --")[0] == second.split(" --")[0]:
        yield from outside(1 / MARGIN, result["n_heads"][0] * MARGIN, {"heads at once ÷ one of them": result["ratio"]})


def name_of(config: TrainConfig, trainer: Trainer) -> str:
    """The flags of the head, its precision resolved."""
    several = f" --ensemble {config.ensemble}" if config.ensemble > 1 else ""
    return f"--head {config.head}{several} --precision {trainer.config.precision}"


def conditions(trainer: Trainer) -> dict[str, Any]:
    """Conditions of the times."""
    return {
        "cache": str(trainer.data.reader.root),
        "device": trainer.data.device,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
    }


def lines_of_comparison(result: dict[str, Any]) -> Iterator[str]:
    """The result of `compare` for people."""
    yield line_of_conditions(result)
    for head, median_s, seconds in zip(result["heads"], result["epoch_s"], result["epochs_s"], strict=True):
        yield f"{head}: epoch median {median_s:.3f} s of {', '.join(f'{one:.3f}' for one in seconds)}"
    ratio, per_head = result["ratio"], result["ratio_per_head"]
    more = f", {per_head:.4f} for each head" if per_head != ratio else ""
    yield f"one epoch of {' ÷ one epoch of '.join(result['heads'])}: {ratio:.4f}{more}"


def line_of_conditions(result: dict[str, Any]) -> str:
    """Conditions of the times, for people."""
    return f"{result['device']}, {result['threads']} threads, load average {result['load_average']:.1f}"


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result of `measure` for people."""
    yield f"{result['head']}, {line_of_conditions(result)}"
    yield (
        f"epoch: median {result['epoch_s']:.2f} s of {', '.join(f'{seconds:.2f}' for seconds in result['epochs_s'])}; "
        f"opening {result['open_s']:.2f} s, choosing the epoch on whole images {result['choose_s']:.2f} s"
    )
    phases = ", ".join(f"{_mb(result[f'{name}_peak_anon_bytes'])} {name}" for name in ("open", "epochs", "choose"))
    yield (
        f"peak anonymous memory: {_mb(result['peak_anon_bytes'])} ({phases}; {_mb(result['imported_anon_bytes'])} "
        "after the imports)"
    )
    yield f"VmHWM, pages of the mapped cache included: {_mb(result['vm_hwm_bytes'])}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
