"""Trainings side by side on the CPU: each keeps to one thread, and there are as many at work as torch has threads.

A light head is too small for several threads: they mostly wait for each other. One thread a head is quicker, and what
comes out does not depend on how many cores there are or on what else is trained. Trainings take turns step by step, so
that those which need the same pixels need them at about the same time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

Event = TypeVar("Event")


def round_robin(groups: Iterable[Iterable[Iterator[Event]]], device: str) -> Iterator[Event]:
    """Run all jobs, from one of their events to the next in turn.

    Args:
        groups: of jobs, each of which does its work between two events. A group begins when those before it no longer
            keep all threads at work.
        device: where they compute; on others than the CPU one is at work at a time.

    Yields:
        The events as they come, each job's in its order. What a job raises is raised, when those at work have come to
        their next event; so is an interrupt.
    """
    n_workers = torch.get_num_threads() if device == "cpu" else 1
    with _one_thread_each(n_workers) as pool:
        waiting, working, to_come = deque[Iterator[Event]](), dict[Future[list[Event]], Iterator[Event]](), iter(groups)
        while True:
            while len(waiting) + len(working) < n_workers and (group := next(to_come, None)) is not None:
                waiting.extend(group)
            if not waiting and not working:
                return
            while waiting and len(working) < n_workers:
                job = waiting.popleft()
                working[pool.submit(_go_on, job)] = job
            for future in wait(working, return_when=FIRST_COMPLETED).done:
                job = working.pop(future)
                if events := future.result():
                    waiting.append(job)
                    yield from events


def _go_on(job: Iterator[Event]) -> list[Event]:
    """The job's next event; none if it has finished."""
    return list(itertools.islice(job, 1))


@contextmanager
def _one_thread_each(n_workers: int) -> Iterator[ThreadPoolExecutor]:
    n_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(n_threads)  # it is the default of threads to come, too
