"""Whatever stops a command, nothing half-written is taken for whole, it says what to do, and repeated it ends alike.

Commands run in forks of this process, which has the libraries loaded; faults are put into the fork.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - forks need not import it again
import pytest
import torch
from transformers import AutoModel, AutoTokenizer  # noqa: F401 - as above

from textdiff.cli import main
from textdiff.errors import DataError
from textdiff.pipeline import ablate, evaluate, predict, pretrain, train  # noqa: F401 - as above
from textdiff.pipeline.config import ExtractConfig
from textdiff.pipeline.extract import extract_features
from textdiff.pipeline.progress import Progress
from textdiff.stages.pretraining import Pretraining
from textdiff.stages.unet import UNetRecorder

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
    "train-head": Work(
        ("train-head", "cache", "out", "--epochs", "3", *SMALL_HEAD), "summary.json", KEPT, ("--resume",)
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
    (root / "data/img").mkdir()
    for name in ("test0.png", "val0.png"):
        shutil.copy(root / "data" / name, root / "data/img" / name)
    for name, model in (("unet", tiny_unet), ("encoder", tiny_encoder)):
        shutil.copytree(model, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for place, command in (("cache", "extract-features"), ("run", "train-head")):
            arguments = tuple(place if part == "out" else part for part in WORKS[command].arguments)
            assert run(arguments) == (0, Path("stderr.txt").read_text())
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


SIGNALS = [
    *((name, signal.SIGKILL, -signal.SIGKILL) for name in WORKS),
    *((name, signal.SIGTERM, 143) for name in WORKS),
    ("extract-features", signal.SIGINT, 130),
    ("train-head", signal.SIGINT, 130),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number", "code"), SIGNALS)
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


@pytest.fixture
def disk(tmp_path) -> Path:
    """A disk of its own, of 4 MB, where this process may mount one."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def on_disk(work: Work, disk: Path) -> tuple[str, ...]:
    return tuple(str(disk / "out") if part == "out" else part for part in work.arguments)


@pytest.mark.parametrize("name", ["extract-features", "train-head", "pretrain-unet", "predict"])
def test_a_full_disk_is_told_and_the_rest_is_written_when_there_is_room(ends, disk, name):
    work = WORKS[name]
    end, _ = ends(work)
    n_pages = sum(-(-len(content) // 4096) for content in end.values() if isinstance(content, bytes))
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(2**22 - 4096 * int(0.8 * n_pages)))
    code, told = run(on_disk(work, disk))
    assert code == 1, told
    assert "No space left on device (free some space, or take another disk)" in told or "GB are free" in told
    assert told.count("error: ") == 1
    assert "Traceback" not in told
    assert not work.whole_with or not (disk / "out" / work.whole_with).exists()
    ballast.unlink()
    code, told = run((*on_disk(work, disk), *work.resume))
    assert code == 0, told
    names = {name for name in end if name.endswith((".safetensors", ".npy", ".png", "c/0/0/0/0"))}
    there = contents(disk / "out")
    assert there.keys() == end.keys()
    assert {name: there[name] for name in names} == {name: end[name] for name in names}


@pytest.mark.parametrize("name", ["extract-features", "train-head", "pretrain-unet", "ablate-timesteps", "predict"])
def test_a_place_that_cannot_be_written_to_is_told(disk, name):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, told = run(on_disk(WORKS[name], disk))
    assert (code, told.count("error: ")) == (1, 1), told
    assert f"Read-only file system (take a place that can be written to); {WORKS[name].left}" in told
    assert "Traceback" not in told


def test_files_over_a_limit_are_told(tmp_path):
    def fault() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    code, told = run(WORKS["extract-features"].arguments, fault)
    assert code == 1
    assert "File too large (raise the limit on the size of files, or take another disk); finished work is kept" in told


class Vanishing(Progress):
    """Takes a file away when a line begins so."""

    def __init__(self, beginning: str, path: Path) -> None:
        self._beginning, self._path = beginning, path

    def say(self, line: str) -> None:
        if self._beginning in line and self._path.exists():
            self._path.rename(self._path.with_suffix(".away"))


@pytest.mark.parametrize("name", ["train2.png", "val0_mask.png"])
def test_a_file_that_vanishes_after_it_was_checked_is_named(ends, name):
    work = WORKS["extract-features"]
    end, _ = ends(work)
    begin(work)
    config = ExtractConfig(
        data=Path("data"), cache=Path("out"), unet="diffusers:unet", text_encoder="hf:encoder", timesteps=(50, 150),
        blocks=(1, 3), image_size=16, batch_size=2, device="cpu",
    )  # fmt: skip
    path = Path("data", name)
    with pytest.raises(DataError, match=f"data/{name} cannot be read: No such file or directory"):
        extract_features(config, Vanishing("images to run", path))
    path.with_suffix(".away").rename(path)
    assert not Path("out/manifest.json").exists()
    go_on(work)
    assert contents(Path("out")) == end


def nan_from_the_unet() -> None:
    record = UNetRecorder.record

    def spoilt(self, image, *rest):
        maps = record(self, image, *rest)
        return {
            block: torch.where(torch.arange(maps[block].shape[1])[:, None, None, None] == 1, torch.nan, maps[block])
            for block in maps
        }

    UNetRecorder.record = spoilt


def no_memory_for_the_unet() -> None:
    def failing(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    UNetRecorder.record = failing


def nan_from_training() -> None:
    def diverged(self, steps):
        return torch.nan

    Pretraining.advance = diverged


def no_memory_for_training() -> None:
    def failing(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    torch.optim.AdamW.step = failing


def nan_from_the_optimiser() -> None:
    step = torch.optim.AdamW.step

    def spoilt(self, *given):
        for group in self.param_groups:
            for weight in group["params"]:
                weight.data.fill_(torch.nan)
        return step(self, *given)

    torch.optim.AdamW.step = spoilt


MODELS = [
    ("extract-features", nan_from_the_unet, "block 3, timestep 150, sample train1: "),
    ("extract-features", no_memory_for_the_unet, "do not fit the memory of cpu; give a smaller --batch-size"),
    ("predict", nan_from_the_unet, "the UNet's activations are NaN or infinite, so that a mask would mean nothing"),
    ("predict", no_memory_for_the_unet, "do not fit the memory of cpu"),
    (
        "train-head",
        nan_from_the_optimiser,
        "the loss is not finite in epoch 1: lower --learning-rate or --weight-decay",
    ),
    ("train-head", no_memory_for_training, "out of memory (give a smaller --images-per-step or --pixels-per-image, or"),
    ("pretrain-unet", nan_from_training, "the loss is nan at step"),
    (
        "pretrain-unet",
        no_memory_for_training,
        "out of memory (give a smaller --batch-size or --crop, or another --device)",
    ),
    ("ablate-timesteps", nan_from_the_optimiser, "the loss is not finite in epoch 1"),
    ("ablate-timesteps", no_memory_for_training, f"out of memory (give another --device); {HEADS_KEPT}"),
]


@pytest.mark.parametrize(("name", "fault", "message"), MODELS)
def test_a_model_that_fails_is_told_and_ends_alike_when_it_works_again(ends, name, fault, message):
    work = WORKS[name]
    end, _ = ends(work)
    begin(work)
    code, told = run(work.arguments, fault)
    assert (code, told.count("error: ")) == (1, 1), told
    assert message in told
    assert not work.whole_with or not Path("out", work.whole_with).exists()
    assert not list(Path("out").glob("*.png"))
    if fault in (nan_from_the_unet, nan_from_training, nan_from_the_optimiser) and name != "ablate-timesteps":
        go_on(work)
        assert contents(Path("out")) == end


@pytest.mark.parametrize("name", ["extract-features", "train-head", "pretrain-unet"])
def test_a_second_writer_is_refused_at_once_and_a_dead_one_blocks_nobody(ends, name):
    work = WORKS[name]
    end, n_syncs = ends(work)
    begin(work)
    first = start(work.arguments, lambda: at_sync(n_syncs // 2, lambda: os.kill(os.getpid(), signal.SIGSTOP)))
    assert os.WIFSTOPPED(os.waitpid(first, os.WUNTRACED)[1])
    before = contents(Path("out"))
    code, told = run((*work.arguments, *work.resume))
    assert (code, told.count("error: ")) == (1, 1), told
    assert "out: another process is writing to" in told
    assert contents(Path("out")) == before
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    go_on(work)
    assert contents(Path("out")) == end
