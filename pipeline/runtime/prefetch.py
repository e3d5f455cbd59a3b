"""Work that overlaps: files read ahead of the model, results written behind it, both with a bound on what waits."""

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

    No more than `depth` results wait to be taken. What `load` raises is raised when its turn comes; when the iterator
    is closed, work that was not begun is dropped.
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
    """One thread that does what it is given, in order, while the caller goes on.

    One piece of work may be under way and one may wait: `submit` blocks until there is room, which bounds memory. The
    first exception is raised by the next `submit`, or on leaving the `with` block; nothing after it is begun.
    """

    def __enter__(self) -> Self:
        """Start the thread."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind", initializer=give_way)
        self._waiting: deque[Future[None]] = deque()
        self._failed = False
        return self

    def submit(self, work: Callable[[], None]) -> None:
        """Have `work` done after what was submitted before."""
        while len(self._waiting) > 1:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._unless_failed, work))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was submitted; after an exception of the caller, only for what is under way."""
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
