"""Requests as values: JSON bodies, images by number, tiles by number; and answers to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from ....errors import LabelError
from ..session.session import Session
from ..strokes.tiles import Key

Body = TypeVar("Body", bound=msgspec.Struct)
Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]


def posted(kind: type[Body], answer: Callable[[Body], object]) -> Endpoint:
    """The endpoint that gives a JSON body to `answer`, in a thread, and its result back as JSON."""

    async def endpoint(request: Request) -> Response:
        content = await request.body()
        try:
            body = msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LabelError(
                "the body cannot be read", f"{error}", f"JSON of {kind.__name__}", "reload the page"
            ) from error
        return await in_thread(lambda: as_json(answer(body)))

    return endpoint


def got(answer: Callable[[], object]) -> Endpoint:
    """The endpoint that answers with a thread's result as JSON."""

    async def endpoint(_: Request) -> Response:
        return await in_thread(lambda: as_json(answer()))

    return endpoint


async def in_thread(work: Callable[[], Result], limiter: CapacityLimiter | None = None) -> Result:
    """Do something that takes time or reads files, while others are served."""
    # Nothing but the server's end cancels it, which does not wait for what is slow.
    return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


def as_json(value: Any) -> Response:  # noqa: ANN401
    """The answer with a value."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def image_of(session: Session, image: int) -> int:
    """The number of an image of the session.

    Raises:
        LabelError: There is none with this number.
    """
    n_images = len(session.images)
    if not 0 <= image < n_images:
        raise LabelError("the image does not exist", str(image), f"0 to {n_images - 1}", "reload the page", "absent")
    return image


def key_of(request: Request) -> Key:
    """Level, column and row that an address names."""
    return request.path_params["level"], request.path_params["column"], request.path_params["row"]


def no_such_tile(key: Key) -> LabelError:
    """The refusal of a tile beyond the image."""
    level, column, row = key
    return LabelError("the tile does not exist", f"{level}/{column}_{row}", "one in the image", "reload", "absent")


def missing(what: str) -> LabelError:
    """The refusal of a request for a part that is not there."""
    return LabelError(
        f"this session has no {what}", "a request for it", "a session with one", "start `textdiff label`", "conflict"
    )
