"""Server-sent events: whatever any thread publishes reaches every open page, in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_ALIVE_S = 15.0
_MOST_WAITING = 2000
"""Events that a page may be behind; it is let go then, connects again, and asks for the session."""


class _Page:
    """An open connection."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        self.is_full = False

    def put(self, content: bytes | None) -> None:
        self.loop.call_soon_threadsafe(self._put, content)

    def _put(self, content: bytes | None) -> None:
        if not self.is_full:
            self.is_full = self.queue.qsize() >= _MOST_WAITING
            self.queue.put_nowait(None if self.is_full else content)


class Hub:
    """All open pages."""

    def __init__(self) -> None:
        self._pages: set[_Page] = set()
        self._lock = threading.Lock()
        self._at_end: list[Callable[[], None]] = []

    def publish(self, event: Mapping[str, Any]) -> None:
        """Send an event to every page; from any thread, and without waiting."""
        self._put(b"data: %b\n\n" % msgspec.json.encode(event))

    def at_end(self, call: Callable[[], None]) -> None:
        """Have something called when the server ends."""
        self._at_end.append(call)

    def close(self) -> None:
        """End every connection, and what others wait for."""
        self._put(None)
        for call in self._at_end:
            call()

    async def endpoint(self, _: Request) -> Response:
        """A page's connection."""
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    def _put(self, content: bytes | None) -> None:
        with self._lock:
            for page in self._pages:
                if not page.loop.is_closed():
                    page.put(content)

    async def _stream(self) -> AsyncIterator[bytes]:
        page = _Page()
        with self._lock:
            self._pages.add(page)
        try:
            yield b"retry: 1000\n\n"
            while (content := await _next(page.queue)) is not None:
                yield content
        finally:
            with self._lock:
                self._pages.discard(page)


async def _next(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    try:
        return await asyncio.wait_for(queue.get(), _ALIVE_S)
    except TimeoutError:
        return b": alive\n\n"
