"""Extractions and trainings killed at random moments, several times in a row: do they end as if nothing had happened?

    python benchmarks/torture/chaos.py [--kills 100] [--seed 0] [--out DIR] [--json]

Three kinds of work on a small phantom take turns: an extraction, an extension of a finished cache by a timestep, and a
training of many epochs, which keeps its state every few seconds. Each is begun, killed with SIGKILL after a random time
of up to its usual length, resumed, killed again, up to `KILLS_IN_A_ROW` times, and at last left to end.

    corrupt  cycles that end with other bytes than the uninterrupted work, or in which something half-written passed for
             whole after a kill: a cache that opens is verified byte by byte (the manifest's copy, which is written
             last, may be absent or old), a run with a summary must be the finished run
    lost     cycles that cannot be brought to their end
    resumed  kills that left something to go on from; without any, nothing is resumed and the counts mean nothing

The work runs in forks of one process that has the libraries loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: a fork has only the thread that forked
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from small_models import extraction_of, write_small

from textdiff import cache_verify, extract_features, train_head
from textdiff.components import FeatureReader
from textdiff.config import ExtractConfig, TrainConfig
from textdiff.errors import CacheIncompleteError, CacheNotFoundError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, outside, refuse

KILLS_IN_A_ROW = 5
EPOCHS = 60
"""Enough for a training to keep its state several times."""
COPY = "manifest.copy.json"
UNITS, STATE = "journal/units/*.json", "resume.safetensors"
Files = dict[str, bytes]


@dataclass(frozen=True)
class Work:
    """A kind of work that is killed."""

    name: str
    folder: Path
    """Made or extended by the work."""
    prepare: Callable[[], object]
    """Puts the folder into its state before the work."""
    run: Callable[[], object]
    """Begins the work, or resumes it."""
    half_written: Callable[[Files], list[str]]
    """Problems after a kill, from the folder's files after the uninterrupted work."""
    kept: str
    """Pattern of the files, below the folder, that the next one goes on from."""


def contents(folder: Path) -> Files:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_works(out: Path) -> list[Work]:
    """Three kinds of work on a phantom of eight images."""
    in_fork(lambda: write_small(out, n_train=5, n_val=2, n_test=1, image_size=32))
    finished = out / "finished"
    extraction = replace(extraction_of(out, out / "cache"), resume=True)
    extension = replace(extraction, cache=out / "extended", timesteps=(50, 150, 250))
    in_fork(lambda: extract_features(replace(extraction, cache=finished)))
    training = TrainConfig(
        finished, out / "run", head="pixel", width=32, n_attention_heads=2, epochs=EPOCHS, device="cpu", resume=True
    )
    return [
        Work(
            "extraction", out / "cache", lambda: None, lambda: extract_features(extraction), _in_cache(extraction),
            UNITS,
        ),
        Work(
            "extension", out / "extended", lambda: shutil.copytree(finished, out / "extended"),
            lambda: extract_features(extension), _in_cache(extension), UNITS,
        ),
        Work("training", training.run, lambda: None, lambda: train_head(training), _in_run(training.run), STATE),
    ]  # fmt: skip


def _in_cache(config: ExtractConfig) -> Callable[[Files], list[str]]:
    def look(end: Files) -> list[str]:
        del end
        try:
            FeatureReader(config.cache)
        except (CacheNotFoundError, CacheIncompleteError):
            return []
        return [damage.line() for damage in cache_verify(config.cache).damaged if damage.path != COPY]

    return look


def _in_run(run: Path) -> Callable[[Files], list[str]]:
    def look(end: Files) -> list[str]:
        files = contents(run) if (run / "summary.json").exists() else {}
        return [name for name, content in files.items() if end.get(name, content) != content]

    return look


def fork(work: Callable[[], object]) -> int:
    """Do the work in a fork, whose exit status is 0 if the work ended well; gives the process id."""
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
    """Do the work in a fork and wait; whether it ended well. This process itself starts no threads."""
    return os.waitpid(fork(work), 0)[1] == 0


def killed(work: Callable[[], object], after_s: float) -> bool:
    """Do the work in a fork and kill it after a time; whether it was killed before its end."""
    process = fork(work)
    time.sleep(after_s)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


@contextmanager
def fresh(work: Work) -> Iterator[None]:
    """The work's folder in its state before the work."""
    shutil.rmtree(work.folder, ignore_errors=True)
    work.prepare()
    yield
    shutil.rmtree(work.folder)


def uninterrupted(work: Work) -> tuple[Files, float]:
    """The files that the work makes, and its seconds."""
    with fresh(work):
        started = time.perf_counter()
        if not in_fork(work.run):
            raise SystemExit(f"the uninterrupted {work.name} failed")
        return contents(work.folder), time.perf_counter() - started


def cycle(work: Work, end: Files, usual_s: float, rng: random.Random) -> Counter[str]:
    """Kill the work some times, let it end, and compare."""
    count = Counter(cycles=1)
    with fresh(work):
        for _ in range(rng.randint(1, KILLS_IN_A_ROW)):
            if not killed(work.run, rng.uniform(0, usual_s)):
                break
            count["kills"] += 1
            count["resumed"] += any(work.folder.glob(work.kept))
            count["half_written"] += bool(work.half_written(end))
        if in_fork(work.run):
            count["corrupt"] += count["half_written"] > 0 or contents(work.folder) != end
        else:
            count["lost"] += 1
    return count


def measure(out: Path, n_kills: int, seed: int) -> dict[str, dict[str, float]]:
    """Cycles of each kind in turn, until there were so many kills."""
    torch.set_num_threads(1)
    rng, works = random.Random(seed), make_works(out)
    ends = [uninterrupted(work) for work in works]
    counts = [Counter[str](cycles=0, kills=0, resumed=0, corrupt=0, lost=0) for _ in works]
    while sum(count["kills"] for count in counts) < n_kills:
        for work, (end, usual_s), count in zip(works, ends, counts, strict=True):
            count.update(cycle(work, end, usual_s, rng))
    return {
        work.name: {**count, "usual_s": usual_s} for work, (_, usual_s), count in zip(works, ends, counts, strict=True)
    }


def implausible(counts: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Problems of each work: never resumed, more resumed than killed, more kills than cycles allow, no time."""
    for name, count in counts.items():
        yield from not_positive({f"{name}: {of}": count[of] for of in ("usual_s", "cycles", "kills", "resumed")})
        yield from outside(0, count["kills"], {f"{name}: resumed": count["resumed"]})
        yield from outside(0, KILLS_IN_A_ROW * count["cycles"], {f"{name}: kills": count["kills"]})


def main() -> None:
    """Print the counts; exit with 1 if anything was corrupt or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="an empty folder to work in; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        counts = measure(args.out or Path(temporary), args.kills, args.seed)
    names = ("cycles", "kills", "resumed", "corrupt", "lost")
    total = {name: sum(int(count[name]) for count in counts.values()) for name in names}
    if args.json:
        print(json.dumps({**total, "works": counts}))
    else:
        for name, count in [*counts.items(), ("all", total)]:
            print(f"{name:<11}" + ", ".join(f"{int(count[of]):>4} {of}" for of in names))
    refuse(implausible(counts))
    sys.exit(1 if total["corrupt"] or total["lost"] else 0)


if __name__ == "__main__":
    main()
