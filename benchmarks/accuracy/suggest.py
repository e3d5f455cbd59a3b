"""Worth of `suggest`: Dice against the number of labelled images, chosen by it and by chance.

    python benchmarks/accuracy/suggest.py CACHE [--n 2,4,8,12] [--seeds 0,1,2,3,4] [--folds 3] [--text none|true]
        [--epochs 10] [--sources NAME,...] [--no-position] [--out suggest] [--device cpu] [--json]

The user's loop: a head learns from a few images that chance chose, `suggest` ranks the others, the first of them are
labelled, and the head is trained anew, with settings that are quick enough to wait for. Both ways start from the same
images and take their further ones from the same folds of CACHE's training split; held-out groups are scored and choose
nothing. Chance's images of fewer labels are among those of more.

A *chain* is one seed and fold. The interval of the paired difference is over chains: the luck of the first images and
that of the held-out ones are in it. Every finished rung is a line of OUT/cells.jsonl, so that a run that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_ladder import Finished, Identity, divide
from folds import originals
from scoring import trivial_dice
from seeding import named_generator

from textdiff.components import FeatureReader, SampleRow, Split, Trainer, mean_intervals, rank_samples
from textdiff.config import TrainConfig
from textdiff.errors import TextdiffError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse, unequal

WAYS = ("suggest", "chance")


def main() -> None:
    """Climb all chains and show them."""
    args = parse_arguments()
    try:
        shown = report(args)
    except TextdiffError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps(shown) if args.json else "\n".join(lines(shown)))
    refuse(implausible(shown))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    numbers = lambda text: tuple(sorted({int(number) for number in text.split(",")}))  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--n", type=numbers, default=(2, 4, 8, 12), help="labelled images of each round")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2, 3, 4))
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--text", choices=("none", "true"), default="none", help="as train-head's")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--sources", type=lambda text: tuple(text.split(",")), help="as train-head's")
    parser.add_argument("--no-position", dest="position", action="store_false", help="as train-head's")
    parser.add_argument("--out", type=Path, default=Path("suggest"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Climb all chains, and give the table."""
    reader, finished = FeatureReader(args.cache), Finished(args.out / "cells.jsonl")
    chains = list(chains_of(reader, args))
    climbed = [[dict(climb(chain, way, args.n, finished)) for way in WAYS] for chain in chains]
    rows = [row(n, *([dice[n] for dice in way] for way in zip(*climbed, strict=True))) for n in args.n]
    scored = dict.fromkeys(sample for chain in chains for sample in chain.scored)
    return {"cache": str(args.cache), "trivial_dice": trivial_dice(reader, list(scored)), "rows": rows}


@dataclass(frozen=True)
class Chain:
    """One seed and fold."""

    reader: FeatureReader
    config: TrainConfig
    pool: Mapping[str, tuple[SampleRow, ...]]
    """Image → its rows without augmentation, in the order of chance."""
    scored: tuple[SampleRow, ...]
    identity: Identity
    """Of its rungs, but for the way and the number of labels."""


def chains_of(reader: FeatureReader, args: argparse.Namespace) -> Iterator[Chain]:
    """All of them."""
    names = ("text", "epochs", "sources", "position")
    settings = {name: getattr(args, name) for name in names} | {"head": "pixel", "pixels_per_image": 256}
    digests = dict(reader.manifest.digests)
    for seed in args.seeds:
        config = TrainConfig(Path(os.devnull), Path(os.devnull), seed=seed, device=args.device, **settings)
        for fold, (pool, scored) in enumerate(divide(reader, seed, "cv", args.folds)):
            identity = Identity("", 0, seed, fold, args.folds, "cv", digests, settings | {"rungs": args.n})
            yield Chain(reader, config, shuffled(originals(pool), seed), originals(scored), identity)


def shuffled(rows: Sequence[SampleRow], seed: int) -> dict[str, tuple[SampleRow, ...]]:
    """Image → its rows, in random order."""
    names = list(dict.fromkeys(sample.parent for sample in rows))
    order = torch.randperm(len(names), generator=named_generator(seed, "labelled images")).tolist()
    return {names[i]: tuple(sample for sample in rows if sample.parent == names[i]) for i in order}


def climb(chain: Chain, way: str, ns: Sequence[int], finished: Finished) -> Iterator[tuple[int, dict[str, float]]]:
    """Number of labels → Dice of each scored image."""
    learnt = list(chain.pool)[: ns[0]]
    for n, following in zip(ns, (*ns[1:], ns[-1]), strict=True):
        # Both ways learn from the same images first.
        method = WAYS[0] if n == ns[0] else way
        identity = replace(chain.identity, method=method, n=n)
        known = finished.result(identity)
        if known is None:
            known = rung(chain, learnt, ranked=method == WAYS[0])
            finished.record(identity, known)
            mean = statistics.fmean(known["dice"].values())
            print(
                f"{way}, N = {n}, seed {identity.seed}, fold {identity.fold}: {mean:.4f}", file=sys.stderr, flush=True
            )
        yield n, known["dice"]
        following_names = known["ranked"] if way == WAYS[0] else [name for name in chain.pool if name not in learnt]
        learnt = learnt + following_names[: following - n]


def rung(chain: Chain, learnt: Sequence[str], *, ranked: bool) -> dict[str, Any]:
    """A head that learns from these images: its Dice, and if asked for the others as `suggest` ranks them."""
    train = tuple(row for name in learnt for row in chain.pool[name])
    trainer = Trainer.from_config(chain.config, chain.reader, Split(train, chain.scored))
    trainer.run()
    images = dict.fromkeys(row.parent for row in chain.scored)
    dice = dict(zip(images, trainer.validate().mean(-1).tolist(), strict=True))
    return {"dice": dice, "learnt": list(learnt)} | ({"ranked": ranking(trainer, chain, learnt)} if ranked else {})


def ranking(trainer: Trainer, chain: Chain, learnt: Sequence[str]) -> list[str]:
    """The other images as `suggest` ranks them."""
    labelled = [chain.pool[name] for name in learnt]
    unlabelled = [rows for name, rows in chain.pool.items() if name not in learnt]
    ranked = rank_samples(trainer.head, trainer.data, labelled, unlabelled, n=len(unlabelled))
    return [suggestion.id for _, suggestion in ranked]


def row(n: int, chosen: Sequence[Mapping[str, float]], drawn: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Means over chains, and the paired difference."""
    ours, theirs = (np.array([statistics.fmean(dice.values()) for dice in way]) for way in (chosen, drawn))
    low, high = mean_intervals((ours - theirs)[:, None], [str(i) for i in range(len(ours))])[0] or (None, None)
    means = {"suggest": float(ours.mean()), "chance": float(theirs.mean()), "gain": float((ours - theirs).mean())}
    return {"n": n, "n_chains": len(ours), **means, "low": low, "high": high}


def lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """The table for people."""
    yield "| labelled | `suggest` | chance | difference (95 % interval over chains) |"
    yield "|---|---|---|---|"
    for row in shown["rows"]:
        between = "" if row["low"] is None else f" ({row['low']:+.4f} to {row['high']:+.4f})"
        yield f"| {row['n']} | {row['suggest']:.4f} | {row['chance']:.4f} | {row['gain']:+.4f}{between} |"


def implausible(shown: Mapping[str, Any]) -> Iterator[str]:
    """Problems: Dice out of range, of most labels below one class everywhere, and a difference at the common start."""
    first, *_, last = shown["rows"] if len(shown["rows"]) > 1 else shown["rows"] * 2
    for row in shown["rows"]:
        yield from outside(0, 1, {f"Dice of {way} with {row['n']} labels": row[way] for way in WAYS})
    yield from outside(shown["trivial_dice"], 1, {f"Dice of {way} with most labels": last[way] for way in WAYS})
    yield from unequal("Dice of the common first images", first["suggest"], first["chance"])


if __name__ == "__main__":
    main()
