"""The GPU list in one call: what can be found out on a GPU alone, the most valuable first.

    python benchmarks/gpu/run.py --minutes 12 [--device cuda] [--out gpu-list] [--work DIR] [--items NAME,NAME,...]
    python benchmarks/gpu/run.py --miniature [--minutes 10]

Tests that need a GPU; extraction with the paper's UNet (553 M random weights) beside the bare forward, by batch,
precision and torch.compile; a profile of its kernels; equal bytes of extractions and trainings, and their price;
differences from the CPU by block; memory; seconds an epoch; the largest UNet that the rest of the time pretrains.

OUT/gpu-list.json is written anew after each item. Repeated with the same OUT, the command does what is missing, failed
or was skipped because the minutes left did not hold it. `--miniature` tries the list on the CPU with tiny models.
In a folder made by prepare.py neither a network nor an installation is needed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

if TYPE_CHECKING:
    from ground import Ground
    from record import Item

STARTED_S = time.monotonic()
ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = (130, 143)
"""Exit status of a command after a Ctrl-C and after SIGTERM."""
IN_MEMORY, ROOM_BYTES = Path("/dev/shm"), 24e9
"""Where caches are made if there is so much room: then no disk decides."""


def main() -> None:
    """Work through the list, and print its table."""
    args = parse_arguments()
    make_importable()
    from items import ITEMS
    from record import lines, read_results

    names = [item.name for item in ITEMS]
    wanted = args.items.split(",") if args.items else names
    if unknown := sorted({*wanted} - {*names}):
        raise SystemExit(f"error: --items got {','.join(unknown)}; expected some of {','.join(names)}")
    with tempfile.TemporaryDirectory(prefix="gpu-list-", dir=args.work or roomy()) as work:
        ground = make_ground(args, Path(work))
        ground.results |= read_results(args.out)
        work_through([item for item in ITEMS if item.name in wanted], ground, args.out)
    print("\n".join(lines(ground.results)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0, help="in all, from the start of this command")
    parser.add_argument("--device", help="cuda, unless given; in miniature cpu")
    parser.add_argument("--out", type=Path, default=Path("gpu-list"), help="folder of the results")
    parser.add_argument("--work", type=Path, help="folder for 20 GB on the way; memory or TMPDIR, unless given")
    parser.add_argument("--items", metavar="NAME,NAME,...", help="these alone")
    parser.add_argument("--miniature", action="store_true", help="try the list with tiny models")
    return parser.parse_args()


def make_importable() -> None:
    """Have this process, and those that it starts, find the package and the wheels beside it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts, which is before any command
    paths = []
    if importlib.util.find_spec("textdiff") is None:
        link = ROOT / ".package" / "textdiff"
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(ROOT, target_is_directory=True)
        paths.append(str(link.parent))
    if (ROOT / "wheels").is_dir():
        paths.append(str(unpacked(ROOT / "wheels")))
    sys.path[:0] = [*paths, str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "speed")]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])


def unpacked(wheels: Path) -> Path:
    """The folder with the wheels' content, which is unpacked once."""
    site, part = wheels.parent / ".site", wheels.parent / ".site.part"
    if not site.exists():
        shutil.rmtree(part, ignore_errors=True)
        for wheel in wheels.glob("*.whl"):
            with ZipFile(wheel) as archive:
                archive.extractall(part)
        part.rename(site)
    return site


def roomy() -> Path | None:
    """Memory, where it has the room; else `None`."""
    return IN_MEMORY if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM_BYTES else None


def make_ground(args: argparse.Namespace, work: Path) -> Ground:
    """Shared inputs of items; images are those of the folder, or else the phantom's."""
    import torch
    from ground import FULL, MINIATURE, Ground

    if args.miniature:
        torch.compiler.set_stance("force_eager")  # compiling takes minutes on a CPU
    images = ROOT / "data" / "manifest.csv"
    if args.miniature or not images.exists():
        from textdiff.components import write_phantom

        small = {"n_train": 4, "n_val": 2, "n_test": 1, "image_size": 64}
        images = write_phantom(work / "images", **small if args.miniature else {**small, "image_size": 512})
    return Ground(
        device=args.device or ("cpu" if args.miniature else "cuda"),
        scale=MINIATURE if args.miniature else FULL,
        images=images,
        work=work,
        deadline_s=STARTED_S + 60 * args.minutes,
    )


def work_through(items: Sequence[Item], ground: Ground, out: Path) -> None:
    """Do what is not done, and write all results after each item."""
    from record import is_done, write_results

    for item in items:
        if is_done(ground.results.get(item.name)):
            print(f"{item.name}: done before", flush=True)
            continue
        needed, left = 0.0 if ground.in_miniature else item.seconds, ground.seconds_left
        if needed > left:
            result = {"skipped": f"takes about {needed:.0f} s, and {left:.0f} s are left"}
        else:
            result = attempt(item, ground)
        ground.results[item.name] = result
        write_results(out, ground.results)
        print(f"{item.name}: {verdict(result)}", flush=True)


def attempt(item: Item, ground: Ground) -> dict[str, Any]:
    """The item's result with its seconds, or why there is none; what ends the list goes through."""
    import torch
    from record import NotHere

    started_s = time.monotonic()
    with redirect_stderr(StringIO()) as told:
        try:
            result = item.find(ground)
        except NotHere as reason:
            result = {"not_here": str(reason)}
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and error.code in INTERRUPTED:
                raise
            said = [*told.getvalue().splitlines()[-10:], *traceback.format_exc().splitlines()[-20:]]
            result = {"error": f"{type(error).__name__}: {error}"[:1000], "said": said}
    gc.collect()
    if ground.on_cuda:
        torch.cuda.empty_cache()
    return {**result, "seconds_in_all": time.monotonic() - started_s}


def verdict(result: dict[str, Any]) -> str:
    """One line about a result."""
    for name in ("skipped", "not_here", "error"):
        if name in result:
            return f"{name.replace('_', ' ')}: {result[name]}"
    return f"{result['seconds_in_all']:.0f} s"


if __name__ == "__main__":
    main()
