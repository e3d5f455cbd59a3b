"""Refusals before a route is reached: other hosts' names, other sites' requests, strangers, oversized bodies."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ....errors import LabelError
from .access import Access
from .answers import refusal

MOST_BYTES = 2**20
"""Of a request's body: a stroke of 10,000 points has a fifth of it."""
_METHODS = ("GET", "HEAD", "POST")


class Guard:
    """Lets an application see requests of its own page alone."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            try:
                self._check(scope)
            except LabelError as error:
                await refusal(error)(scope, receive, send)
                return
            await self._app(scope, _limited(receive), send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._access.hosts:
            raise LabelError(
                "the server has another name",
                repr(hosts[0][:80]) if hosts else "none",
                ", ".join(sorted(self._access.hosts)),
                "open the address that `textdiff label` showed; for another one, give it as --host",
                "invalid",
            )
        if scope["method"] not in _METHODS:
            raise LabelError("the method is not served", scope["method"][:20], ", ".join(_METHODS), "use one of these")
        is_public = not scope["path"].startswith("/api/")
        if not is_public or scope["method"] == "POST":
            self._check_site(headers, scope["method"])
            if not any(map(self._access.knows, headers.getlist("cookie"))):
                raise LabelError(
                    "the server does not know you",
                    "no cookie of this session",
                    "that of the link which `textdiff label` showed",
                    "open that link in this browser",
                    "unknown visitor",
                )
        if scope["method"] == "POST":
            _check_body(headers)

    def _check_site(self, headers: Headers, method: str) -> None:
        """Refuse what another site's page sent."""
        site, origins = headers.get("sec-fetch-site"), headers.getlist("origin")
        own = [f"http://{headers['host'].lower()}"]
        is_own = (
            site in (None, "same-origin", "none")
            and origins in ([], own)
            and (method != "POST" or origins == own or site == "same-origin")
        )
        if not is_own:
            raise LabelError(
                "another page sent this",
                f"origin {origins[0][:80] if origins else site or 'unknown'!r}",
                own[0],
                "use the page of this server",
                "forbidden",
            )


def _check_body(headers: Headers) -> None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise LabelError(
            "the body is of another kind",
            repr(headers.get("content-type", "")[:80]),
            "application/json",
            "send JSON with this Content-Type",
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise LabelError(
            "the body is compressed", repr(headers["content-encoding"][:80]), "plain JSON", "send it uncompressed"
        )
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        raise _too_large(length[:20])


def _limited(receive: Receive) -> Receive:
    """Count a body's bytes as they come, whatever its header says."""
    n_bytes = 0

    async def receive_some() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > MOST_BYTES:
            raise _too_large(f"over {MOST_BYTES}")
        return message

    return receive_some


def _too_large(got: str) -> LabelError:
    return LabelError("the body is too large", f"{got} bytes", f"up to {MOST_BYTES}", "send less at once", "too large")
