"""Cost of stage one around and inside the UNet: four measurements, each of ratios within one run.

    python benchmarks/speed/extract.py efficiency [--adm] [--precision auto] [--images 48] [--image-size 64]
    python benchmarks/speed/extract.py early-exit [--image-size 256] [--channels 64] [--repeats 3]
    python benchmarks/speed/extract.py compile [--image-size 64] [--batch-size 8] [--repeats 3]
    python benchmarks/speed/extract.py memory [--images 30 300]

All take --device and --json; UNets have random weights, files go to a temporary folder (in TMPDIR).

`efficiency`: images/s of the command `extract-features`, run in this process, divided by those of the bare truncated
forward on tensors in memory, with the same UNet, blocks, timesteps, precision and batch. The command reads PNG files of
twice the model's side and writes a cache, filters included. A machine's speed drifts, so that command and bare forward
take turns, and each command is compared with the bare forwards before and after it. All blocks of a small UNet are
stored, the most that can be asked of the disk; with --adm it is the UNet of the paper, 553 M random weights, and its
blocks for QaTa-COV19.
Two figures: `loop`, of each further image (the whole call less that of one batch of images); `call`, the whole call
less the time of loading the UNet. Beside them the same of processor time, which other processes disturb less.

`early-exit`: time of the forward up to block 12 of the paper's architecture, divided by that of the whole UNet as
diffusers runs it; with 64 channels in place of its 256, unless --channels says otherwise.

`compile`: time of the bare forward through torch.compile, divided by that without, and the seconds of compiling.

`memory`: peak anonymous memory of extracting few images and many, each in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from diffusers import DDPMScheduler
from peak_memory import Phase
from PIL import Image
from random_unets import adm_unet, small_unet

from textdiff import extract_features
from textdiff.components import UNetRecorder, load_unet
from textdiff.config import ExtractConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from devices import add_device, timed
from plausibility import MARGIN, not_positive, outside, refuse

PRECISIONS = get_args(get_type_hints(ExtractConfig)["precision"])

CHANNELS = (64, 128, 192, 256)
BLOCKS = (2, 4, 6, 7)
"""One of each level, the last of all included: nothing is cut off, and the cache is at its largest."""
QATA_BLOCKS = (4, 6, 8, 12)
"""The paper's blocks for QaTa-COV19, of the 18 that the 256-pixel ADM architecture has."""
PARTS_PER_WHOLE = ("median_loop_per_bare", "median_call_per_bare", "median_exit_per_whole")
"""Time of a part, divided by that of the whole."""


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        result = args.measure(args, Path(folder))
    about = {"device": args.device, "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    print(json.dumps({**about, **result}, indent=None if args.json else 1))
    refuse(implausible(result))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common = argparse.ArgumentParser(add_help=False)
    add_device(common)
    common.add_argument("--json", action="store_true", help="print one line")
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("efficiency", parents=[common])
    part.add_argument("--images", type=int, default=48)
    part.add_argument("--image-size", type=int, default=64, help="side in pixels, a multiple of 8")
    part.add_argument("--batch-size", type=int, default=ExtractConfig.batch_size)
    part.add_argument("--repeats", type=int, default=3)
    part.add_argument("--precision", choices=PRECISIONS, default=ExtractConfig.precision)
    part.add_argument("--adm", action="store_true", help="the paper's UNet and its blocks for QaTa")
    part.set_defaults(measure=measure_efficiency)
    part = parts.add_parser("early-exit", parents=[common])
    part.add_argument("--image-size", type=int, default=256, help="side in pixels, a multiple of 32")
    part.add_argument("--channels", type=int, default=64, help="of the first level; the paper's UNet has 256")
    part.add_argument("--repeats", type=int, default=3)
    part.set_defaults(measure=measure_early_exit)
    part = parts.add_parser("compile", parents=[common])
    part.add_argument("--image-size", type=int, default=64, help="side in pixels, a multiple of 8")
    part.add_argument("--batch-size", type=int, default=ExtractConfig.batch_size)
    part.add_argument("--repeats", type=int, default=3)
    part.set_defaults(measure=measure_compile)
    part = parts.add_parser("memory", parents=[common])
    part.add_argument("--images", type=int, nargs="+", default=[30, 300])
    part.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    part.set_defaults(measure=measure_memory)
    args = parser.parse_args()
    if args.measure is measure_efficiency and args.images <= args.batch_size:
        parser.error(f"--images got {args.images}, expected more than the batch size, {args.batch_size}")
    return args


@dataclass(frozen=True)
class Seconds:
    """Time of one piece of work."""

    wall: float
    processor: float
    """Of all threads."""

    def less(self, other: Seconds) -> Seconds:
        """The time without that of a part."""
        return Seconds(self.wall - other.wall, self.processor - other.processor)

    def times(self, factor: float) -> Seconds:
        """The time of so many times the work."""
        return Seconds(factor * self.wall, factor * self.processor)


def measure_efficiency(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Commands and bare forwards in turns."""
    config = make_extraction(
        folder,
        args.images,
        image_size=args.image_size,
        channels=CHANNELS,
        device=args.device,
        batch_size=args.batch_size,
    )
    config = replace(config, precision=args.precision)
    if args.adm:
        adm_unet(args.image_size).save_pretrained(folder / "unet")
        config = replace(config, blocks=QATA_BLOCKS)
    few = replace(config, data=write_images(folder / "few", args.batch_size, 2 * args.image_size))
    precision = run_command(replace(few, cache=folder / "first"))["precision"]  # kernels are chosen once
    recorder = load_recorder(config, precision)
    bare, loops, calls = [clocked(lambda: bare_forwards(recorder, config, args.images))], [], []
    for i in range(args.repeats):
        load = clocked(lambda: load_recorder(config, precision))
        of_few = clocked(lambda i=i: run_command(replace(few, cache=folder / f"few{i}")))
        whole = clocked(lambda i=i: run_command(replace(config, cache=folder / f"cache{i}")))
        loops.append(whole.less(of_few).times(args.images / (args.images - args.batch_size)))
        calls.append(whole.less(load))
        bare.append(clocked(lambda: bare_forwards(recorder, config, args.images)))
    return {
        "n_parameters": sum(weight.numel() for weight in recorder.frozen.model.parameters()),
        "images": args.images,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "precision": precision,
        "timesteps": config.timesteps,
        "blocks": config.blocks,
        "bare_images_per_s": args.images / statistics.median(one.wall for one in bare),
        **ratios("loop", bare, loops),
        **ratios("call", bare, calls),
    }


def ratios(name: str, bare: list[Seconds], other: list[Seconds]) -> dict[str, Any]:
    """Time of the bare forwards around each of the others, divided by its own."""
    beside = [(before.wall + after.wall, before.processor + after.processor) for before, after in pairwise(bare)]
    of_wall = [wall / 2 / one.wall for (wall, _), one in zip(beside, other, strict=True)]
    of_processor = [processor / 2 / one.processor for (_, processor), one in zip(beside, other, strict=True)]
    return {
        f"{name}_per_bare": of_wall,
        f"median_{name}_per_bare": statistics.median(of_wall),
        f"median_{name}_per_bare_of_processor": statistics.median(of_processor),
    }


def implausible(result: dict[str, Any]) -> Iterator[str]:
    """Problems: no time or memory, and a part that takes longer than the whole."""
    yield from not_positive({name: value for name, value in result.items() if name.endswith(("_s", "_bytes"))})
    yield from outside(0, MARGIN, {name: result[name] for name in PARTS_PER_WHOLE if name in result})


def run_command(config: ExtractConfig) -> dict[str, Any]:
    """The summary of `textdiff extract-features`, run in this process, which the command prepares as its own."""
    named = ("unet", "blocks", "timesteps", "image_size", "batch_size", "device", "precision")
    flags = {f"--{name.replace('_', '-')}": getattr(config, name) for name in named}
    words = [",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in flags.values()]
    flat = [word for pair in zip(flags, words, strict=True) for word in pair]
    switches = {"--no-filters": not config.filters, "--compile": config.compile, "--resume": config.resume}
    given = [name for name, is_given in switches.items() if is_given]
    sys.argv = ["textdiff", "extract-features", str(config.data), str(config.cache), *flat, *given, "--json"]
    with redirect_stdout(io.StringIO()) as printed:
        try:
            runpy.run_module("textdiff", run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise
    return json.loads(printed.getvalue())


def load_recorder(config: ExtractConfig, precision: Any, *, compiled: bool = False) -> UNetRecorder:  # noqa: ANN401
    """The UNet of an extraction, without anything around it."""
    unet = load_unet(config.unet, config.device, bfloat16_weights=precision == "bfloat16-weights")
    return UNetRecorder(unet, config.blocks, precision, compiled=compiled)


def bare_forwards(recorder: UNetRecorder, config: ExtractConfig, n_images: int) -> float:
    """Seconds for as many images in tensors, in the same batches, dropping the activations."""
    images = torch.rand(config.batch_size, 3, config.side, config.side, device=config.device) * 2 - 1
    noise = torch.randn(1, 3, config.side, config.side)
    sizes = [min(config.batch_size, n_images - start) for start in range(0, n_images, config.batch_size)]

    def run() -> None:
        for size in sizes:
            recorder.record(images[:size], config.timesteps, noise)

    return timed(run, config.device)[1]


def measure_early_exit(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The truncated forward and the whole one in turns, one image at three timesteps."""
    adm_unet(args.image_size, args.channels).save_pretrained(folder / "unet")
    DDPMScheduler().save_pretrained(folder / "unet")
    recorder = UNetRecorder(load_unet(f"diffusers:{folder / 'unet'}", args.device), QATA_BLOCKS)
    model, timesteps = recorder.frozen.model, ExtractConfig.timesteps
    x = torch.randn(len(timesteps), 3, args.image_size, args.image_size, device=args.device)
    x = x.contiguous(memory_format=torch.channels_last)
    t = torch.tensor(timesteps, device=args.device)
    exit_s, whole_s = [], []
    with torch.inference_mode():
        for _ in range(args.repeats + 1):
            exit_s.append(timed(lambda: recorder.truncated(x, t), args.device)[1])
            whole_s.append(timed(lambda: model(x, t), args.device)[1])
    ratios = [part / whole for part, whole in zip(exit_s[1:], whole_s[1:], strict=True)]  # the first warms up
    return {
        "n_parameters": sum(weight.numel() for weight in model.parameters()),
        "blocks": QATA_BLOCKS,
        "image_size": args.image_size,
        "exit_s": exit_s[1:],
        "whole_s": whole_s[1:],
        "exit_per_whole": ratios,
        "median_exit_per_whole": statistics.median(ratios),
    }


def measure_compile(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The bare forward of one batch with and without torch.compile, in turns."""
    size, batch = args.image_size, args.batch_size
    config = make_extraction(folder, batch, image_size=size, channels=CHANNELS, device=args.device, batch_size=batch)
    precision = "bfloat16" if args.device.startswith("cuda") else "float32"
    plain, compiled = (load_recorder(config, precision, compiled=flag) for flag in (False, True))
    plain_s = [bare_forwards(plain, config, batch)]
    compile_s = bare_forwards(compiled, config, batch)
    ratios = []
    for _ in range(args.repeats):
        seconds = bare_forwards(compiled, config, batch)
        plain_s.append(bare_forwards(plain, config, batch))
        ratios.append(2 * seconds / (plain_s[-2] + plain_s[-1]))
    return {"compile_s": compile_s, "compiled_per_plain": ratios, "median": statistics.median(ratios)}


def measure_memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak anonymous memory of one extraction a process, by its number of images."""
    if args.alone:
        config = make_extraction(folder, args.images[0], image_size=64, channels=(32, 64, 64, 64), device=args.device)
        with Phase(config.device) as phase:
            extract_features(config)
        return {"peak_anon_bytes": phase.peak_bytes, "seconds": phase.seconds}
    peaks = {n: json.loads(in_own_process(args, n))["peak_anon_bytes"] for n in args.images}
    return {"peak_anon_bytes": peaks, "most_per_least": max(peaks.values()) / min(peaks.values())}


def in_own_process(args: argparse.Namespace, n_images: int) -> str:
    """The line that the measurement prints when it runs alone."""
    command = [sys.executable, __file__, "memory", "--alone", "--json", "--device", args.device]
    return subprocess.run([*command, "--images", str(n_images)], capture_output=True, text=True, check=True).stdout


def make_extraction(
    folder: Path, n_images: int, *, image_size: int, channels: tuple[int, ...], device: str, batch_size: int = 8
) -> ExtractConfig:
    """A random UNet and random images on the disk, and the settings that extract them."""
    small_unet(image_size, channels).save_pretrained(folder / "unet")
    DDPMScheduler().save_pretrained(folder / "unet")
    return ExtractConfig(
        data=write_images(folder / "data", n_images, 2 * image_size),
        cache=folder / "cache",
        unet=f"diffusers:{folder / 'unet'}",
        blocks=BLOCKS,
        image_size=image_size,
        device=device,
        batch_size=batch_size,
    )


def write_images(folder: Path, n: int, side: int) -> Path:
    """Write a manifest of `n` random PNG images without masks and texts."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["id,image,mask,text,split"]
    for index in range(n):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        rows.append(f"{index},{index}.png,,,train")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def clocked(work: Callable[[], object]) -> Seconds:
    """Wall and processor time of `work`."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


if __name__ == "__main__":
    main()
