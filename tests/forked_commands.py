"""Commands run in forks of the tests' process, which has the libraries loaded; faults are put into the fork."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - forks need not import it again
from transformers import AutoModel, AutoTokenizer  # noqa: F401 - as above

from textdiff.cli import main
from textdiff.pipeline.training import train  # noqa: F401 - as above

SMALL_HEAD = ("--width", "16", "--n-attention-heads", "2", "--device", "cpu")
KEPT = "finished work is kept: repeat the command with --resume to go on"
HEADS_KEPT = "finished heads are kept: repeat the command to go on"
NOTHING = "nothing is half-written: repeat the command"


@dataclass(frozen=True)
class Work:
    """A command that fills `out`."""

    arguments: tuple[str, ...]
    whole_with: str
    """The file whose presence says that the result is whole; "": it has no such file."""
    left: str
    """What a message says is left behind."""
    resume: tuple[str, ...] = ()
    starts_from: str = ""
    """A folder that `out` is a copy of before."""


WORKS = {
    "extract-features": Work(
        (
            *("extract-features", "data", "out", "--unet", "diffusers:unet", "--text-encoder", "hf:encoder"),
            *("--timesteps", "50,150", "--blocks", "1,3", "--image-size", "16", "--batch-size", "2", "--device", "cpu"),
        ),
        "manifest.json", KEPT, ("--resume",),
    ),
    "train-head": Work(
        ("train-head", "cache", "out", "--head", "pixel", "--epochs", "3", *SMALL_HEAD),
        "summary.json", KEPT, ("--resume",),
    ),
    "pretrain-unet": Work(
        (
            *("pretrain-unet", "data", "out", "--image-size", "16", "--crop", "16", "--channels", "8,16"),
            *("--steps", "6", "--save-every", "2", "--batch-size", "2", "--device", "cpu"),
        ),
        "model_index.json", KEPT, ("--resume",),
    ),
    "ablate-timesteps": Work(
        ("ablate-timesteps", "cache", "out", "--subsets", "50;150", "--seeds", "0", "--epochs", "1", "--device", "cpu"),
        "ablation.json", HEADS_KEPT,
    ),
    "predict": Work(("predict", "run", "data/img", "out", "--probabilities", "--device", "cpu"), "", NOTHING),
    "evaluate": Work(("evaluate", "out", "cache", "--split", "val", "--device", "cpu"), "", NOTHING, starts_from="run"),
}  # fmt: skip


def run(arguments: tuple[str, ...], fault: Callable[[], object] = lambda: None) -> tuple[int, str]:
    """A command in a fork, after `fault` was put into it: exit code (negative: the signal that killed it), stderr."""
    return finish(start(arguments, fault))


def start(arguments: tuple[str, ...], fault: Callable[[], object] = lambda: None) -> int:
    """The fork's process id."""
    process = os.fork()
    if process:
        return process
    try:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        sys.stderr = Path("stderr.txt").open("w", buffering=1, encoding="utf-8")  # noqa: SIM115
        sys.argv = ["textdiff", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever started the tests may have ignored
        fault()
        main()
    except SystemExit as end:
        os._exit(end.code or 0)
    except BaseException as error:
        sys.stderr.write(f"Traceback: {error!r}\n")
    os._exit(99)


def finish(process: int) -> tuple[int, str]:
    status = os.waitpid(process, 0)[1]
    return os.waitstatus_to_exitcode(status), Path("stderr.txt").read_text(encoding="utf-8")


def at_sync(number: int, act: Callable[[], object]) -> None:
    """Do something when the command makes a write durable for the `number`-th time, from 1."""
    done, sync = 0, os.fsync

    def counted(handle: int) -> None:
        nonlocal done
        done += 1
        if done == number:
            act()
        sync(handle)

    os.fsync = counted


def contents(folder: Path) -> dict[str, object]:
    """Every file; the lines of a record of finished heads in any order, since heads end in any."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: sorted(told.split(b"\n")) if name == "heads.jsonl" else told for name, told in found.items()}


def count_syncs(path: Path) -> Callable[[], None]:
    def fault() -> None:
        sync = os.fsync

        def told(handle: int) -> None:
            with path.open("a") as file:
                file.write(".")
            sync(handle)

        os.fsync = told

    return fault


def begin(work: Work) -> None:
    shutil.rmtree("out", ignore_errors=True)
    if work.starts_from:
        shutil.copytree(work.starts_from, "out")


def go_on(work: Work) -> None:
    code, told = run((*work.arguments, *work.resume))
    assert code == 0, told


def on_disk(work: Work, disk: Path) -> tuple[str, ...]:
    return tuple(str(disk / "out") if part == "out" else part for part in work.arguments)
