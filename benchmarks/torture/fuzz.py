"""Files changed at random, given to everything that reads files: does any reader do other than read or refuse them?

    python benchmarks/torture/fuzz.py [--seconds 480] [--seed 0] [--seeds DIR] [--out DIR] [--json]

Seeds are small sound files of every kind, written by the libraries that write such files, and the files with a known
suffix in `--seeds`. A mutation flips bits, cuts, splices with another seed, repeats, or puts odd numbers in the place
of others, as bytes and as digits. Checksums of half of the PNGs and of all of a cache's tables are corrected after it,
without which nothing behind them would be reached. Only errors of `textdiff.errors` are expected. Everything else is a
crash, and so are more than `MEMORY_BYTES` beyond the process's own, more than `HANG_S` seconds for one file, and a
signal; each is saved with its input. Readers run in a fork, which is replaced when it dies. A sound file that its
reader refuses is no seed, and a reader that was never given a file was not tried: both end the command with 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: readers run in forks

from fuzz_mutations import mutate
from fuzz_readers import Target, make_targets
from fuzz_seeds import MORE, write_seeds

from textdiff.errors import TextdiffError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, refuse

MEMORY_BYTES = 4 * 2**30
HANG_S = 20.0
TURN_S = 0.2


class Hang(BaseException):
    """A file took too long."""


def execute(target: Target, path: Path, content: bytes) -> str | None:
    """Problem with a mutated file; `None` if it was read, or refused by an error of ours."""
    sound = path.read_bytes()
    path.write_bytes(content)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        target.read(path)
    except TextdiffError:
        return None
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "fuzz" not in frame.filename]
        return (
            f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else repr(error)
        )
    else:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        path.write_bytes(sound)


class Fuzzer:
    """Runs readers in turn until the time is over; crashes and counts go to a folder."""

    def __init__(self, targets: list[Target], out: Path, rng: random.Random) -> None:
        self._targets, self._out, self._rng = targets, out, rng
        self._sound = {path: path.read_bytes() for target in targets for path in target.files}

    def run(self, until: float) -> None:
        """In a fork of its own: it may be killed by what it reads. Readers have the same time, not the same number."""
        _bound()
        counts, crashes = Counter[str](), Counter[str]()
        while time.monotonic() < until:
            for target in self._targets:
                turn = time.monotonic() + TURN_S
                while time.monotonic() < turn:
                    crashes.update(self._feed(target))
                    counts[target.name] += 1
            (self._out / f"counts-{os.getpid()}.json").write_text(json.dumps([counts, crashes]))

    def _feed(self, target: Target) -> list[str]:
        path = self._rng.choice(target.files)
        content = mutate(self._sound[path], [self._sound[file] for file in target.files], self._rng)
        (self._out / "last").write_bytes(content)
        (self._out / "last.txt").write_text(f"{target.name} {path}")
        problem = execute(target, path, content)
        if problem is None:
            return []
        self._save(f"{target.name}-{re.sub('[^A-Za-z0-9]+', '-', problem)}{path.suffix}", content)
        return [f"{target.name}: {problem}"]

    def _save(self, name: str, content: bytes) -> None:
        if not (self._out / name).exists():
            (self._out / name).write_bytes(content)

    def restore(self) -> None:
        """Put back what a reader that died left changed."""
        for path, content in self._sound.items():
            path.write_bytes(content)


def _bound() -> None:
    """Bound memory and time, and keep libraries quiet."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _hang)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def _hang(number: int, frame: object) -> None:
    raise Hang


def refused_seeds(targets: list[Target], out: Path) -> list[str]:
    """Sound files that their readers refuse, which mutations of them would not reach; read in a fork."""
    found = out / "refused.json"
    process = os.fork()
    if process == 0:
        _bound()
        found.write_text(json.dumps([line for target in targets for line in _refused(target)]))
        os._exit(0)
    if status := os.waitpid(process, 0)[1]:
        return [f"the process that reads the sound files ended with {status}"]
    refused: list[str] = json.loads(found.read_text())
    return refused


def _refused(target: Target) -> Iterator[str]:
    for path in target.files:
        if path.name.startswith(MORE):
            continue
        sound = path.read_bytes()
        try:
            target.read(path)
        except Exception as error:
            yield f"{target.name} refuses its sound file {path.name} ({error!r})"
        finally:
            path.write_bytes(sound)


def implausible(counts: Mapping[str, int], targets: list[Target], refused: list[str]) -> Iterator[str]:
    """Problems: sound files that are refused, and readers that were given nothing."""
    yield from refused
    yield from not_positive({f"executions of {target.name}": counts.get(target.name, 0) for target in targets})


def fuzz(targets: list[Target], out: Path, seconds: float, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Run forks until the time is over; executions of each reader, and crashes with their numbers."""
    until, deaths, number = time.monotonic() + seconds, Counter[str](), 0
    while time.monotonic() < until:
        fuzzer = Fuzzer(targets, out, random.Random(f"{seed}-{number}"))
        process = os.fork()
        if process == 0:
            fuzzer.run(until)
            os._exit(0)
        status = os.waitpid(process, 0)[1]
        if status:
            name, path = (out / "last.txt").read_text().split(" ", 1)
            deaths[f"{name}: the process ended with {status}"] += 1
            shutil.copy(out / "last", out / f"{name}-died-{number}{Path(path).suffix}")
        fuzzer.restore()
        number += 1
    of_forks = [json.loads(path.read_text()) for path in out.glob("counts-*.json")]
    counts = sum((Counter(one) for one, _ in of_forks), Counter[str]())
    return counts, sum((Counter(one) for _, one in of_forks), Counter[str]()) + deaths


def main() -> None:
    """Print the executions of each reader and the crashes; exit with 1 if there was one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=Path, help="a folder of more sound files")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for the inputs of crashes")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.out.glob("counts-*.json"):
        path.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        write_seeds(Path(temporary), args.seeds)
        targets = make_targets(Path(temporary))
        refused = refused_seeds(targets, args.out)
        counts, crashes = fuzz(targets, args.out, args.seconds, args.seed)
    if args.json:
        print(json.dumps({"executions": counts, "crashes": crashes}))
    else:
        for name, n in [*counts.items(), ("all", counts.total())]:
            print(f"{name:<11}{n:>9} executions")
        for name, n in crashes.most_common():
            print(f"crash: {name} ({n} times)")
    refuse(implausible(counts, targets, refused))
    sys.exit(1 if crashes else 0)


if __name__ == "__main__":
    main()
