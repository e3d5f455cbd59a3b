"""Processes that train an ablation's heads: they come and go with the command, whatever ends it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from textdiff.errors import RunError
from textdiff.pipeline.ablation.workers import train_in_processes

pytestmark = pytest.mark.slow


class Calling:
    """In place of a job: a worker that receives it calls this function."""

    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_lost_process_is_named_and_the_others_end():
    with pytest.raises(RunError, match=r"a process was lost while it trained a head .*fewer processes than 2"):
        list(train_in_processes("cpu", [Calling(os._exit, 1), Calling(time.sleep, 60)]))
    assert multiprocessing.active_children() == []


def test_an_interrupt_does_not_wait_for_heads_in_training():
    def interrupt(*_):
        raise KeyboardInterrupt

    before, started = signal.signal(signal.SIGALRM, interrupt), time.monotonic()
    signal.alarm(5)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(train_in_processes("cpu", [Calling(time.sleep, 60)] * 2))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 40
    assert multiprocessing.active_children() == []


def test_a_script_without_a_guard_ablates(tiny_cache, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            from pathlib import Path
            from textdiff import ablate_timesteps
            from textdiff.config import AblateConfig
            summary = ablate_timesteps(AblateConfig(Path({str(tiny_cache)!r}), Path({str(tmp_path / "out")!r}),
                subsets=((50,), (150,)), seeds=(0,), epochs=1, device="cpu"))
            print([row.name for row in summary.rows])
        """),
        encoding="utf-8",
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['50', '150']"]
