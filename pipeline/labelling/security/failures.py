"""Failures that nobody foresaw: shown on the page and logged without a word of the data.

An exception's message may hold a file's name or an image's id, and logs are sent around; the log has the places in the
program, which is what finds the mistake.
"""

from __future__ import annotations

import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ....errors import LabelError
from .answers import refusal

_LOG = logging.getLogger("uvicorn.error")


class Failures:
    """Answers for an application that fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        has_begun = False

        async def send_some(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_some)
        except Exception as error:
            _LOG.error("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            if not has_begun:
                await refusal(_as_label_error(error))(scope, receive, send)


def _as_label_error(error: Exception) -> LabelError:
    if isinstance(error, OSError) and error.strerror:
        return LabelError(
            "a file could not be read or written",
            error.strerror,
            "room on the disk, and files that stay where they are",
            "free some space and try again; what was saved before is kept",
            "failure",
        )
    return LabelError(
        "the program has failed",
        type(error).__name__,
        "an answer",
        "reload the page; what was saved is kept. The terminal has the place, for a report",
        "failure",
    )
