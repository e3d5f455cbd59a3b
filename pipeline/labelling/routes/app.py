"""The application: all routes, behind the guard, with secure headers on every answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....errors import LabelError, TextdiffError
from ..pictures.pictures import Pictures
from ..security.access import Access
from ..security.answers import refusal
from ..security.failures import Failures
from ..security.guard import Guard
from ..security.headers import SecureHeaders
from ..session.session import Session
from .changes import Changes
from .hub import Hub
from .learning import Learning
from .overview import Overview, tell_pages
from .page import PageFiles, built_files
from .tiles import Tiles

if TYPE_CHECKING:
    from ..data_set.export import Exporter
    from ..data_set.features import Features
    from ..learner.learner import Learner


def create_app(
    session: Session,
    *,
    access: Access,
    hub: Hub | None = None,
    pictures: Pictures | None = None,
    learner: Learner | None = None,
    features: Features | None = None,
    exporter: Exporter | None = None,
    title: str = "",
    out: Path = Path("labels"),
) -> Starlette:
    """The application of one session, and of those parts that it has; questions to others are refused.

    Args:
        session: the session.
        access: who may come in.
        hub: that learner, features and export publish by; `None`: the session's events alone are sent.
        pictures: `None`: made here, for images of 8 bits.
        learner: that predicts.
        features: that say which images are ready.
        exporter: that writes.
        title: of the page.
        out: the folder of the labels, to be shown.
    """
    hub, pictures = hub or Hub(), pictures or Pictures(session.images)
    overview = Overview(session, learner, features, title, out)
    tell_pages(overview, pictures, hub)
    parts = (
        PageFiles(access, built_files()),
        overview,
        Changes(session, learner),
        Tiles(session, pictures, learner),
        Learning(session, learner, exporter),
    )
    return Starlette(
        routes=[*(route for part in parts for route in part.routes()), Route("/api/events", hub.endpoint)],
        middleware=[Middleware(SecureHeaders), Middleware(Guard, access=access), Middleware(Failures)],
        exception_handlers={LabelError: _refused, TextdiffError: _failed, HTTPException: _unknown},
    )


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, LabelError)
    return refusal(error)


def _failed(_: Request, error: Exception) -> Response:
    return refusal(LabelError("this cannot be done", str(error), "files as they were", "see the message", "conflict"))


def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    got = f"{request.method} {request.url.path[:80]}"
    return refusal(LabelError("there is nothing here", got, "an address of the page", "reload the page", "absent"))
