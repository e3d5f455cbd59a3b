"""Whatever stops a command, nothing half-written is taken for whole, it says what to do, and repeated it ends alike.

Commands run in forks of this process, which has the libraries loaded; faults are put into the fork.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from textdiff.cli import main

SMALL_HEAD = ("--width", "16", "--n-heads", "2", "--device", "cpu")
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
    "train-head": Work(("train-head", "cache", "out", "--epochs", "6", *SMALL_HEAD), "summary.json", KEPT, ("--resume",)),
    "pretrain-unet": Work(
        (
            *("pretrain-unet", "data", "out", "--image-size", "16", "--crop", "16", "--channels", "8,16"),
            *("--steps", "6", "--save-every", "2", "--batch-size", "2", "--device", "cpu"),
        ),
        "model_index.json", KEPT, ("--resume",),
    ),
    "ablate-timesteps": Work(
        ("ablate-timesteps", "cache", "out", "--subsets", "50;150", "--seeds", "0,1", "--epochs", "1", "--device", "cpu"),
        "ablation.json", HEADS_KEPT,
    ),
    "predict": Work(("predict", "run", "data", "out", "--probabilities", "--device", "cpu"), "", NOTHING),
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
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        sys.stderr = open("stderr.txt", "w", buffering=1, encoding="utf-8")
        sys.argv = ["textdiff", *arguments]
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
    return {name: sorted(told.split(b"\n")) if name == "cells.jsonl" else told for name, told in found.items()}


def count_syncs(path: Path) -> Callable[[], None]:
    def fault() -> None:
        sync = os.fsync

        def told(handle: int) -> None:
            with path.open("a") as file:
                file.write(".")
            sync(handle)

        os.fsync = told

    return fault


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_unet, tiny_encoder, write_tiny_data) -> Path:
    """Data, models, a cache and a run; here `out` comes to be."""
    root = tmp_path_factory.mktemp("world")
    (root / "data").mkdir()
    write_tiny_data(root / "data")
    for name, model in (("unet", tiny_unet), ("encoder", tiny_encoder)):
        shutil.copytree(model, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for place, command in (("cache", "extract-features"), ("run", "train-head")):
            arguments = tuple(place if part == "out" else part for part in WORKS[command].arguments)
            assert run(arguments) == (0, Path("stderr.txt").read_text())
    for name in ("test0.png", "test0_mask.png", "spare.png"):  # one image is enough to predict
        assert (root / "data" / name).exists()
    return root


@pytest.fixture(autouse=True)
def here(world, monkeypatch) -> None:
    monkeypatch.chdir(world)
    shutil.rmtree("out", ignore_errors=True)


def begin(work: Work) -> None:
    shutil.rmtree("out", ignore_errors=True)
    if work.starts_from:
        shutil.copytree(work.starts_from, "out")


@pytest.fixture(scope="module")
def ends(world) -> Callable[[Work], tuple[dict[str, object], int]]:
    """What a work makes if nothing happens, and how often it makes writes durable."""
    known: dict[Work, tuple[dict[str, object], int]] = {}

    def end(work: Work) -> tuple[dict[str, object], int]:
        if work not in known:
            counter = world / "syncs.txt"
            counter.write_text("")
            begin(work)
            assert run(work.arguments, count_syncs(counter))[0] == 0
            known[work] = contents(world / "out"), len(counter.read_text())
        return known[work]

    return end


def go_on(work: Work) -> None:
    code, told = run((*work.arguments, *work.resume))
    assert code == 0, told


@pytest.mark.parametrize("name", WORKS)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_stopped_by_a_signal_it_ends_alike_when_repeated(ends, name, number, code):
    work = WORKS[name]
    end, n_syncs = ends(work)
    begin(work)
    found, told = run(work.arguments, lambda: at_sync(n_syncs // 2, lambda: os.kill(os.getpid(), number)))
    assert found == code, told
    if code > 0:
        assert told.endswith(f"interrupted; {work.left}\n")
    assert not work.whole_with or not Path("out", work.whole_with).exists()
    go_on(work)
    assert contents(Path("out")) == end
