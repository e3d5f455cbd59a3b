"""A folder in which commands run, and what each makes there if nothing happens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from forked_commands import WORKS, Work, begin, contents, count_syncs, run


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """OpenMP's threads do not live on in a fork: a second one would end it with a crash."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(one_thread, tmp_path_factory, tiny_unet, tiny_encoder, write_tiny_data) -> Path:
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
