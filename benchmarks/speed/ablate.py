"""Cost of an ablation beside the heads that it compares, trained one by one.

    python benchmarks/speed/ablate.py CACHE [--timesteps 5,50,150] [--seeds 0,1,2] [--epochs N] [--repeats 1]
        [--device NAME] [--json]

All 7 subsets of 3 timesteps with each seed: `ablate-timesteps` against the sum of as many single commands
`train-head --head pixel --no-filters`, each a process of its own, timed from start to end. The two take turns, seed by
seed: the ablation is given one seed more each time and trains what it lacks, so that other load on the machine meets
both. Before them, a head of all timesteps is trained for one epoch, unmeasured, so that the cache's pages are in
memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from devices import add_device
from plausibility import MARGIN, not_positive, outside, refuse, unequal

Subset = tuple[int, ...]
Seconds = tuple[float, float]
"""Wall and processor."""


def main() -> None:
    """Time both, and print the ratio."""
    args = parse_arguments()
    found = [measure(args) for _ in range(args.repeats)]
    ratios = [one["ablation_s"] / one["singles_s"] for one in found]
    told = {
        "cache": str(args.cache),
        "device": args.device,
        "threads": torch.get_num_threads(),
        "epochs": args.epochs,
        "n_heads": len(subsets_of(args.timesteps)) * len(args.seeds),
        "repeats": found,
        "ratio": statistics.median(ratios),
    }
    print(json.dumps(told) if args.json else "\n".join(lines(told)))
    refuse(implausible(told))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--timesteps", type=numbers, default=(5, 50, 150), metavar="N,N,N")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), metavar="N,N,...")
    parser.add_argument("--epochs", type=int, help="of each head; the default of train-head, unless given")
    parser.add_argument("--repeats", type=int, default=1)
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def numbers(text: str) -> Subset:
    """Numbers with commas between them."""
    return tuple(int(number) for number in text.split(","))


def subsets_of(timesteps: Subset) -> list[Subset]:
    """All that are not empty."""
    sizes = range(1, len(timesteps) + 1)
    return [subset for size in sizes for subset in itertools.combinations(timesteps, size)]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the ablation and of the single trainings."""
    ablations: list[Seconds] = []
    singles: list[Seconds] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        train(args, out / "warm", args.timesteps, args.seeds[0], epochs=1)
        for place, seed in enumerate(args.seeds):
            turns = [
                lambda place=place: ablations.append(ablate(args, out / "ablation", args.seeds[: place + 1])),
                lambda seed=seed: singles.extend(
                    train(args, out / f"run-{seed}-{join(subset)}", subset, seed, args.epochs)
                    for subset in subsets_of(args.timesteps)
                ),
            ]
            for turn in turns[:: 1 if place % 2 == 0 else -1]:
                turn()
        trained = (out / "ablation" / "heads.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "n_trained": len(trained),
        "ablation_s": sum(wall_s for wall_s, _ in ablations),
        "singles_s": sum(wall_s for wall_s, _ in singles),
        "ablation_cpu_s": sum(cpu_s for _, cpu_s in ablations),
        "singles_cpu_s": sum(cpu_s for _, cpu_s in singles),
        "of_ablation_s": ablations,
        "of_singles_s": singles,
        "load_average": os.getloadavg()[0],
    }


def ablate(args: argparse.Namespace, out: Path, seeds: Sequence[int]) -> Seconds:
    """Of `ablate-timesteps`, which trains the heads of the last seed."""
    subsets = ";".join(map(join, subsets_of(args.timesteps)))
    flags = ("--subsets", subsets, "--seeds", join(seeds), *epochs_flag(args.epochs), "--device", args.device)
    return timed("ablate-timesteps", args.cache, out, *flags)


def train(args: argparse.Namespace, run: Path, subset: Subset, seed: int, epochs: int | None) -> Seconds:
    """Of one `train-head`."""
    flags = ("--head", "pixel", "--no-filters", "--timesteps", join(subset), "--seed", seed, *epochs_flag(epochs))
    return timed("train-head", args.cache, run, *flags, "--device", args.device)


def timed(*arguments: object) -> Seconds:
    """Wall and processor seconds of one command."""
    command = [sys.executable, "-c", "from textdiff.cli import main; main()", *map(str, arguments)]
    started, used = time.perf_counter(), cpu_s()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started, cpu_s() - used


def cpu_s() -> float:
    """Processor time of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def epochs_flag(epochs: int | None) -> tuple[object, ...]:
    """Nothing where the default is meant."""
    return () if epochs is None else ("--epochs", epochs)


def join(values: Sequence[int]) -> str:
    """As flags write them."""
    return ",".join(map(str, values))


def implausible(told: dict[str, Any]) -> Iterator[str]:
    """Problems: heads that one side did not train, and processors that the machine does not have."""
    n_cores = os.cpu_count() or 1
    for one in told["repeats"]:
        yield from unequal(
            "heads that the ablation trained, and that it was to train", one["n_trained"], told["n_heads"]
        )
        yield from unequal("single trainings, and heads", len(one["of_singles_s"]), told["n_heads"])
        yield from not_positive({name: one[name] for name in ("ablation_s", "singles_s")})
        busy = {side: one[f"{side}_cpu_s"] / one[f"{side}_s"] for side in ("ablation", "singles")}
        yield from outside(0.01, n_cores * MARGIN, {f"processors of {side}": n for side, n in busy.items()})
    # Both train the same heads; the ablation opens the cache and imports the libraries once.
    yield from outside(0, 1.5, {"ablation ÷ single trainings": told["ratio"]})


def lines(told: dict[str, Any]) -> Iterator[str]:
    """The result for people."""
    epochs = told["epochs"] or "the default number of"
    yield f"{told['n_heads']} heads of {epochs} epochs on {told['cache']}, {told['device']}, {told['threads']} threads"
    for one in told["repeats"]:
        yield (
            f"ablation {one['ablation_s']:.0f} s, single trainings {one['singles_s']:.0f} s: "
            f"{one['ablation_s'] / one['singles_s']:.3f}; of processor time {one['ablation_cpu_s']:.0f} s and "
            f"{one['singles_cpu_s']:.0f} s: {one['ablation_cpu_s'] / one['singles_cpu_s']:.3f} "
            f"(load average {one['load_average']:.1f})"
        )
    yield f"ablation ÷ single trainings: {told['ratio']:.3f}"


if __name__ == "__main__":
    main()
