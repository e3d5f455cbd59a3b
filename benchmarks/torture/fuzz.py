"""Files changed at random, fed to everything that reads files: does any reader do other than read them or refuse them?

    python benchmarks/torture/fuzz.py [--seconds 480] [--seed 0] [--seeds DIR] [--out DIR] [--json]

Seeds are small sound files of every kind, written by the libraries that write such files, and whatever of a known
ending lies in `--seeds`. A mutation flips bits, cuts, splices with another seed, repeats, or puts odd numbers in the
place of others, as bytes and as digits; the checksums of half of the PNGs are put right after it, without which nothing
behind them would be reached. Only errors of `textdiff.errors` are expected. Everything else is a crash, and so are more
than `MEMORY_BYTES` beyond what the process begins with, more than `HANG_S` seconds for one file, and a signal; each is
saved with its input. Readers run in a fork, which is replaced when it dies.
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
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: readers run in forks

from fuzz_seeds import write_seeds

from textdiff.cache.building.plan import read_state
from textdiff.cache.format.sealed_json import seal
from textdiff.cache.reader import FeatureReader
from textdiff.errors import TextdiffError
from textdiff.pipeline.data.classes import read_classes
from textdiff.pipeline.data.dataset import scan_dataset
from textdiff.pipeline.data.text_tables import texts_by_image
from textdiff.pipeline.images.reading import read_image, read_mask
from textdiff.pipeline.maintenance.verify import verify_cache
from textdiff.pipeline.runs.folder import read_summary
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.projections import load_projections
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.stages.unet.guided.convert import convert_checkpoint
from textdiff.stages.unet.recorder import load_unet

MEMORY_BYTES = 4 * 2**30
HANG_S = 20.0
TURN_S = 0.2
ODD = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
DIGITS = (
    "0",
    "-1",
    "1e309",
    "NaN",
    "null",
    "[]",
    "{}",
    '""',
    "true",
    "0.5",
    "99999999999999999999",
    "18446744073709551615",
)


@dataclass(frozen=True)
class Target:
    """A reader, and the sound files that it is fed with changed."""

    name: str
    files: tuple[Path, ...]
    """Mutated, one at a time; what else the reader needs lies beside them."""
    read: Callable[[Path], object]
    """Told the changed file's path."""


def _images(path: Path) -> None:
    for read in (lambda: read_image(path, (0, 255)), lambda: read_mask(path)):
        try:
            read()
        except TextdiffError:
            continue


def _cache(path: Path) -> None:
    _look_at_cache(path)
    if path.suffix == ".json":
        path.write_bytes(seal(path.read_bytes()))  # so that what stands behind the checksum is read
        _look_at_cache(path)


def _look_at_cache(path: Path) -> None:
    root = next(folder for folder in path.parents if (folder / ".lock").exists())
    for look in (_read_cache, verify_cache, lambda root: read_state(root, resume=True)):
        try:
            look(root)
        except TextdiffError:
            continue


def _read_cache(root: Path) -> None:
    reader = FeatureReader(root)
    rows = [sample.row for sample in reader.samples]
    reader.read(reader.blocks, reader.timesteps, rows)
    reader.texts()
    for row in rows:
        reader.labels(row), reader.image(row), reader.filters(row)


def _run(path: Path) -> None:
    config = RunConfig.read(path.parent)
    load_head(path.parent, config, "cpu")
    load_projections(path.parent, config, "cpu")
    read_summary(path.parent)


def make_targets(seeds: Path) -> list[Target]:
    """Every reader with its seeds."""

    def files(pattern: str) -> tuple[Path, ...]:
        return tuple(sorted(path for path in seeds.glob(pattern) if path.is_file() and path.name != ".lock"))

    images = [Target(kind, files(f"{kind}/*"), _images) for kind in ("png", "jpeg", "tiff", "dicom", "nifti")]
    return [
        *images,
        Target("manifest", files("data/manifest.*"), scan_dataset),
        Target("texts", files("texts/*"), lambda path: texts_by_image([Path("a.png")], path)),
        Target("classes", files("data/classes.json"), lambda path: read_classes(path.parent)),
        Target("cache", files("cache/**/*"), _cache),
        Target("run", files("run/*.json") + files("run/*.safetensors"), _run),
        Target("checkpoint", files("checkpoint/*"), lambda path: convert_checkpoint(str(path), path, None)),
        Target(
            "unet",
            files("unet/unet/*") + files("unet/scheduler/*"),
            lambda path: load_unet(f"diffusers:{path.parents[1]}"),
        ),
    ]


def mutate(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The content with one to four things changed."""
    for _ in range(rng.randint(1, 4)):
        content = rng.choice((_flip, _cut, _splice, _repeat, _number, _number, _digits))(content, others, rng)
    return _checked_png(content) if content[1:4] == b"PNG" and rng.random() < 0.5 else content


def _flip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:start] if rng.random() < 0.5 else content[:start] + content[end:]


def _splice(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _repeat(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start : min(end, start + 4096)] * rng.randint(1, 8) + content[end:]


def _number(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    size, place = rng.choice((1, 2, 4, 8)), rng.randrange(min(len(content), 4096) or 1)
    number = (rng.choice(ODD) & (256**size - 1)).to_bytes(size, rng.choice(("little", "big")))
    return content[:place] + number + content[place + size :]


def _digits(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    found = list(re.finditer(rb'-?\d+|"[^"]{0,40}"', content[:20_000]))
    if not found:
        return content
    one = rng.choice(found)
    return content[: one.start()] + rng.choice(DIGITS).encode() + content[one.end() :]


def _checked_png(content: bytes) -> bytes:
    """The same chunks, each with its right checksum."""
    place, chunks = 8, [content[:8]]
    while place + 12 <= len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        body = content[place + 4 : place + 8 + size]
        chunks.append(content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + size
    return b"".join(chunks)


class Hang(BaseException):
    """A file took too long."""


def execute(target: Target, path: Path, content: bytes) -> str | None:
    """Read a changed file; what went wrong, `None` if it was read or refused as it should be."""
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
    """Feeds readers in turn until the time is over; finds and counts go to a folder."""

    def __init__(self, targets: list[Target], out: Path, rng: random.Random) -> None:
        self._targets, self._out, self._rng = targets, out, rng
        self._sound = {path: path.read_bytes() for target in targets for path in target.files}

    def run(self, until: float) -> None:
        """In a fork of its own: it may be killed by what it reads. Readers have the same time, not the same number."""
        _bound()
        counts, found = Counter[str](), Counter[str]()
        while time.monotonic() < until:
            for target in self._targets:
                turn = time.monotonic() + TURN_S
                while time.monotonic() < turn:
                    found.update(self._feed(target))
                    counts[target.name] += 1
            (self._out / f"counts-{os.getpid()}.json").write_text(json.dumps([counts, found]))

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


def fuzz(targets: list[Target], out: Path, seconds: float, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Run forks until the time is over; executions of each reader, and what was found how often."""
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
    told = [json.loads(path.read_text()) for path in out.glob("counts-*.json")]
    counts = sum((Counter(one) for one, _ in told), Counter[str]())
    return counts, sum((Counter(one) for _, one in told), Counter[str]()) + deaths


def main() -> None:
    """Print how often each reader ran and what it did that it should not; exit with 1 if there was anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=Path, help="a folder of more sound files")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="where what was found is kept")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.out.glob("counts-*.json"):
        path.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        write_seeds(Path(temporary), args.seeds)
        counts, found = fuzz(make_targets(Path(temporary)), args.out, args.seconds, args.seed)
    if args.json:
        print(json.dumps({"executions": counts, "crashes": found}))
    else:
        for name, n in [*counts.items(), ("all", counts.total())]:
            print(f"{name:<11}{n:>9} executions")
        for name, n in found.most_common():
            print(f"crash: {name} ({n} times)")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
