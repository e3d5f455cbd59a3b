"""Files changed at random, given to everything that reads files: does any reader do other than read or refuse them?

    python benchmarks/torture/fuzz.py [--seconds 480] [--seed 0] [--seeds DIR] [--out DIR] [--json]

Seeds are small sound files of every kind, written by the libraries that write such files, and the files with a known
suffix in `--seeds`. A mutation flips bits, cuts, splices with another seed, repeats, or puts odd numbers in the place
of others, as bytes and as digits. Checksums of half of the PNGs and of all of a cache's tables are corrected after it,
without which nothing behind them would be reached. Only errors of `textdiff.errors` are expected. Everything else is a
crash, and so are more than `MEMORY_BYTES` beyond the process's own, more than `HANG_S` seconds for one file, and a
signal; each is saved with its input. Readers run in a fork, which is replaced when it dies.
"""

from __future__ import annotations

import argparse
import hashlib
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
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: readers run in forks

from export_seeds import SIZE
from fuzz_seeds import training_of, write_seeds
from small_models import extraction_of

from textdiff import (
    FeatureReader,
    ManifestConfig,
    Segmenter,
    check_data,
    extract_features,
    list_volumes,
    load_encoder,
    load_unet,
    make_manifest,
    read_annotations,
    read_image,
    read_mask,
    train_head,
    verify_cache,
)
from textdiff.errors import TextdiffError

MEMORY_BYTES = 4 * 2**30
HANG_S = 20.0
TURN_S = 0.2
CONTENTS: tuple[Any, ...] = ("values", "indices", "colours", "grey", "alpha", "instances")
"""Ways of reading a mask."""
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
    """A reader, and the sound files that it is given after mutations."""

    name: str
    files: tuple[Path, ...]
    """Mutated one at a time; the other files that the reader needs lie beside them."""
    read: Callable[[Path], object]
    """From the mutated file's path."""


def _each(*reads: Callable[[], object]) -> None:
    """Do all of them, whichever are refused."""
    for read in reads:
        try:
            read()
        except TextdiffError:
            continue


def _images(path: Path) -> None:
    masks = (partial(read_mask, path, content) for content in CONTENTS)
    _each(lambda: read_image(path, (0, 255)), *masks)


def _volume(path: Path) -> None:
    for volume in list_volumes(path):
        for one in volume.slices[:3]:
            _images(one)


def _export(path: Path) -> None:
    """Of a file or of the folder that holds it: every mask of classes and of objects."""
    annotations = read_annotations(path, {"a.png": SIZE, "task-1.png": SIZE})
    for name in annotations.images:
        _each(partial(annotations.draw, name), partial(annotations.draw_objects, name))


def _folder(path: Path) -> None:
    out = path.parents[1] / "out"
    shutil.rmtree(out, ignore_errors=True)
    make_manifest(ManifestConfig(path.parent, out / "data.csv", split=(1.0, 0.0, 0.0)))


def _workbook(path: Path) -> None:
    """Packed again, so that the zip's checksums are right."""
    root = next(folder for folder in path.parents if folder.name == "workbook")
    packed = root.with_suffix(".xlsx")
    with zipfile.ZipFile(packed, "w") as archive:
        for part in filter(Path.is_file, root.rglob("*")):
            archive.write(part, part.relative_to(root).as_posix())
    check_data(packed)


def _ngff(path: Path) -> None:
    root = next(folder for folder in path.parents if folder.name.endswith(".ome.zarr"))
    _images(root)
    _images(root.with_name(f"{root.name}#c=0,level=1"))


def _slide(path: Path) -> None:
    _images(path)
    _images(path.with_name(f"{path.name}#level=1"))


def _cache(path: Path) -> None:
    root = next(folder for folder in path.parents if (folder / ".lock").exists())
    _each(lambda: _read_cache(root), lambda: verify_cache(root))
    if path.suffix == ".json":
        path.write_bytes(_sealed(path.read_bytes()))  # so that the fields behind the checksum are read
        _each(lambda: _read_cache(root), lambda: verify_cache(root))


def _sealed(content: bytes) -> bytes:
    """A table of the cache with the checksum that its other bytes have (cache/FORMAT.md)."""

    def with_checksum(checksum: str) -> bytes:
        return re.sub(rb'"checksum": "[0-9a-f]{64}"', f'"checksum": "{checksum}"'.encode(), content, count=1)

    return with_checksum(hashlib.sha256(with_checksum("0" * 64)).hexdigest())


def _resume(path: Path) -> None:
    path.write_bytes(_sealed(path.read_bytes()))
    config = extraction_of(path.parents[1], path.parent, image_size=16, timesteps=(50,))
    extract_features(replace(config, resume=True, dry_run=True))


def _read_cache(root: Path) -> None:
    reader = FeatureReader(root)
    rows = [sample.row for sample in reader.samples]
    reader.read(reader.blocks, reader.timesteps, rows, layers=reader.layers)
    reader.texts()
    for row in rows:
        reader.labels(row), reader.image(row), reader.filters(row)


def _run(path: Path) -> None:
    run = path.parent
    _each(
        lambda: Segmenter.load(run, device="cpu"),
        lambda: train_head(replace(training_of(run.parent), resume=True)),  # is finished: reads its summary
    )


def make_targets(seeds: Path) -> list[Target]:
    """Every reader with its seeds."""

    def files(pattern: str) -> tuple[Path, ...]:
        return tuple(sorted(path for path in seeds.glob(pattern) if path.is_file() and path.name != ".lock"))

    exports = [
        Target(kind, files(f"exports/{kind}/*"), _export) for kind in ("geojson", "coco", "label_studio", "cvat")
    ]
    images = [Target(kind, files(f"{kind}/*"), _images) for kind in ("png", "jpeg", "tiff", "plain", "dicom", "nifti")]
    return [
        *images,
        Target("volumes", files("volumes/*"), _volume),
        *exports,
        Target("label_studio_masks", files("exports/label_studio_masks/*"), lambda path: _export(path.parent)),
        Target("cvat_masks", files("exports/cvat_masks/SegmentationClass/*"), lambda path: _export(path.parents[1])),
        Target("labelmap", files("exports/cvat_masks/labelmap.txt"), lambda path: _export(path.parent)),
        Target("ngff", files("ngff/**/*"), _ngff),
        Target("slide", files("slide/*"), _slide),
        Target("manifest", files("data/manifest.*"), check_data),
        Target("workbook", files("workbook/**/*"), _workbook),
        Target("texts", files("lvit/*/*_text.*"), lambda path: check_data(path.parents[1])),
        Target("folder", files("folders/nnunet/dataset.json") + files("folders/series/*"), _folder),
        Target("classes", files("data/classes.json"), lambda path: check_data(path.parent)),
        Target("cache", files("cache/**/*"), _cache),
        Target("resume", files("cache/*.json"), _resume),
        Target("run", files("run/*.json") + files("run/*.safetensors"), _run),
        Target("checkpoint", files("checkpoint/*"), lambda path: load_unet(f"guided-diffusion:{path}")),
        Target("image_encoder", files("image_encoder/*"), lambda path: load_encoder(f"hf:{path.parent}")),
        Target("weights", files("weights/*"), lambda path: load_encoder(f"timm:test_efficientnet@{path}")),
        Target(
            "unet",
            files("unet/unet/*") + files("unet/scheduler/*"),
            lambda path: load_unet(f"diffusers:{path.parents[1]}"),
        ),
    ]


def mutate(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The content after one to four mutations."""
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
    size, start = rng.choice((1, 2, 4, 8)), rng.randrange(min(len(content), 4096) or 1)
    number = (rng.choice(ODD) & (256**size - 1)).to_bytes(size, rng.choice(("little", "big")))
    return content[:start] + number + content[start + size :]


def _digits(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    values = list(re.finditer(rb'-?\d+|"[^"]{0,40}"', content[:20_000]))
    if not values:
        return content
    one = rng.choice(values)
    return content[: one.start()] + rng.choice(DIGITS).encode() + content[one.end() :]


def _checked_png(content: bytes) -> bytes:
    """The same chunks, each with its right checksum."""
    start, chunks = 8, [content[:8]]
    while start + 12 <= len(content):
        (size,) = struct.unpack(">I", content[start : start + 4])
        body = content[start + 4 : start + 8 + size]
        chunks.append(content[start : start + 4] + body + struct.pack(">I", zlib.crc32(body)))
        start += 12 + size
    return b"".join(chunks)


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
        counts, crashes = fuzz(make_targets(Path(temporary)), args.out, args.seconds, args.seed)
    if args.json:
        print(json.dumps({"executions": counts, "crashes": crashes}))
    else:
        for name, n in [*counts.items(), ("all", counts.total())]:
            print(f"{name:<11}{n:>9} executions")
        for name, n in crashes.most_common():
            print(f"crash: {name} ({n} times)")
    sys.exit(1 if crashes else 0)


if __name__ == "__main__":
    main()
