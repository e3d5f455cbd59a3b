"""Training jobs in processes of this machine, a head at a time in each, on one thread.

A light head is too small for several threads, which mostly wait for each other. With one thread a head, training is
faster and the result does not depend on the number of cores.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType

import torch

from ...errors import RunError
from ..runtime.process import prepare_process
from .jobs import Outcome, TrainingJob, train_job

HEADS_ON_A_GPU = 4
"""Processes that share a CUDA device: a light head's kernels are shorter than the time to start them. Together they may
keep rows in half of its memory (`head_inputs/inputs.py`: `KEPT_SHARE`). Not measured yet."""


def train_in_processes(device: str, jobs: Sequence[TrainingJob]) -> Iterator[Outcome]:
    """Train the jobs, several at once: on the CPU as many as torch has threads, on CUDA `HEADS_ON_A_GPU`, else one.

    Args:
        device: on which heads are trained.
        jobs: of `JobFactory.jobs_of`.

    Yields:
        The outcomes as they come.

    Raises:
        TextdiffError: of a job.
        RunError: if a process was lost.
    """
    n_at_once = torch.get_num_threads() if device == "cpu" else HEADS_ON_A_GPU if device.startswith("cuda") else 1
    n_workers = min(n_at_once, len(jobs))
    if n_workers < 2:
        yield from map(train_job, jobs)
        return
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            with _main_hidden():
                futures = [pool.submit(train_job, job) for job in jobs]
                pool.submit(int)  # the executor may not watch the process that the submission before started
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "a process was lost while it trained a head (out of memory?); finished heads are kept: repeat the "
                f"command with fewer processes than {n_workers} (OMP_NUM_THREADS)"
            ) from error
        finally:  # an interrupt must not wait for the heads in training
            for worker in set(multiprocessing.active_children()) - {*others}:
                worker.terminate()


def _begin() -> None:
    """Prepare a worker: Ctrl-C is left to the parent, and a parent that was killed ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_process()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep workers from running the caller's script again, which may lack the guard `if __name__ == "__main__"`."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
