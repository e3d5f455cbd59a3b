"""The page itself: the same files for everybody, by the names that the package has, and the way in."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ....errors import LabelError
from ..security.access import Access

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
INDEX = "index.html"


def built_files() -> dict[str, bytes]:
    """The files of the page by their names."""
    folder = resources.files(__package__.rpartition(".")[0]).joinpath("web", "built")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} if folder.is_dir() else {}


@dataclass(frozen=True)
class PageFiles:
    """The routes."""

    access: Access
    files: dict[str, bytes]

    def routes(self) -> list[Route]:
        """The page and its parts."""
        return [Route("/", self._index), Route("/assets/{name}", self._asset)]

    async def _index(self, request: Request) -> Response:
        # No cookie is asked for: a browser that comes from a file does not send one before it is on the page.
        if (token := request.query_params.get("token")) is None:
            return self._file(INDEX)
        if self.access.knows(request.headers.get("cookie", "")):  # the link was opened again
            return RedirectResponse("/", 303)
        return RedirectResponse("/", 303, {"Set-Cookie": self.access.enter(token)})

    async def _asset(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self.files:
            raise LabelError("the file does not exist", repr(name[:80]), "one of the page", "reload the page", "absent")
        kind = _KINDS.get(name[name.rfind(".") :], "application/octet-stream")
        return Response(self.files[name], headers={"Content-Type": kind})
