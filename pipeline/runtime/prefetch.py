"""Files read ahead of the model and results written behind it, in threads; both queues are bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from .process import give_way

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def prefetch(load: Callable[[Item], Loaded], items: Iterable[Item], depth: int) -> Iterator[Loaded]:
    """`map(load, items)`, in order, with `load` at work in threads on the next `depth` items.

    No more than `depth` results wait. An exception of `load` is raised in its turn; closing the iterator cancels work
    that was not begun.
    """
    with ThreadPoolExecutor(depth, thread_name_prefix="ahead", initializer=give_way) as pool:
        waiting: deque[Future[Loaded]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class BackgroundWriter:
    """Threads that run the submitted work beside the caller; one thread runs it in order.

    One piece of work may run in each thread and one may wait: `submit` blocks until there is room, which bounds memory.
    The first exception is raised by the next `submit`, or on leaving the `with` block; no later work is begun.

    Args:
        n_threads: pieces of work that run at once.
    """

    def __init__(self, n_threads: int = 1) -> None:
        self._n_threads = n_threads

    def __enter__(self) -> Self:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="behind", initializer=give_way)
        self._waiting: deque[Future[None]] = deque()
        self._failed = False
        return self

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` after all that was submitted before."""
        while len(self._waiting) > self._n_threads:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._unless_failed, work))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the submitted work; after an exception of the caller, only for the running piece."""
        if error is not None:
            for future in self._waiting:
                future.cancel()
        self._pool.shutdown(wait=True)
        if error is None:
            for future in self._waiting:
                future.result()

    def _unless_failed(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            work()
        except BaseException:
            self._failed = True
            raise
