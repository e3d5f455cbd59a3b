"""Signals, full disks, vanished files, second writers: nothing half-written is taken for whole."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from forked_commands import WORKS, at_sync, begin, contents, go_on, on_disk, run, start

from textdiff.errors import DataError
from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.runtime.progress import Progress

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


@pytest.mark.slow
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
    assert f"Read-only file system (take a folder that can be written to); {WORKS[name].left}" in told
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
        super().__init__()
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


@pytest.mark.slow
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
