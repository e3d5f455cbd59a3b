"""Routes of tiles: pictures, labels, predicted masks and their uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from anyio import CapacityLimiter
from jaxtyping import UInt8
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....errors import LabelError
from ..pictures.pictures import Pictures
from ..session.session import Session
from ..strokes.tiles import level_box
from .requests import Endpoint, image_of, in_thread, key_of, missing, no_such_tile

if TYPE_CHECKING:
    from ..learner.learner import Learner

_TILE = "{level:int}/{column:int}_{row:int}"
_PACKED = [Middleware(GZipMiddleware, compresslevel=1)]
_READERS, _SHRINKERS = 4, 2
"""Threads that decode images at once, for tiles and for thumbnails; those that save strokes are others."""
_CANCELLED = 499


@dataclass(frozen=True)
class Tiles:
    """The routes."""

    session: Session
    pictures: Pictures
    learner: Learner | None
    octets: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_READERS))

    def routes(self) -> list[Route]:
        """One for each kind of tile."""
        pictures, image, layer = self.pictures, "/api/images/{image:int}", "{variant}/" + _TILE
        return [
            Route(f"{image}/thumbnail", self._drawn(lambda place, _: pictures.thumbnail(place), _SHRINKERS)),
            Route(
                f"{image}/picture/{_TILE}",
                self._drawn(lambda place, request: pictures.tile(place, key_of(request)), _READERS),
            ),
            self._of_octets(f"{image}/labels/{_TILE}", self._labels),
            self._of_octets(f"{image}/mask/{layer}", lambda request: self._layer(request, "mask")),
            self._of_octets(f"{image}/uncertainty/{layer}", lambda request: self._layer(request, "uncertainty")),
        ]

    def _drawn(self, draw: Callable[[int, Request], bytes], n_threads: int) -> Endpoint:
        limiter = CapacityLimiter(n_threads)

        async def endpoint(request: Request) -> Response:
            place = image_of(self.session, request.path_params["image"])
            async with limiter:
                if await request.is_disconnected():  # gone elsewhere while others were served
                    return Response(status_code=_CANCELLED)
                return Response(await in_thread(lambda: draw(place, request)), media_type="image/jpeg")

        return endpoint

    def _of_octets(self, path: str, look: Callable[[Request], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await in_thread(lambda: look(request), self.octets)

        return Route(path, endpoint, middleware=_PACKED)

    def _labels(self, request: Request) -> Response:
        place, key = self._unlocked(request), key_of(request)
        labels = self.session.labels(place)
        version = labels.version  # before the look, which may see later strokes
        if (tile := labels.tile(*key)) is None:
            raise no_such_tile(key)
        return _octets(tile, version)

    def _layer(self, request: Request, kind: str) -> Response:
        place, key, variant = self._unlocked(request), key_of(request), request.path_params["variant"]
        if self.learner is None:
            raise missing("learner")
        if variant not in ("own", "none", "other"):
            raise LabelError("the variant does not exist", variant[:80], "own, none or other", "reload", "absent")
        if level_box(self.session.images[place].size, key) is None:
            raise no_such_tile(key)
        layer = self.learner.layer(place, kind, variant)
        if layer is None:
            return _octets(np.full((256, 256), 255 if kind == "mask" else 0, np.uint8), 0)
        version = layer.version
        return _octets(layer.tile(*key), version)

    def _unlocked(self, request: Request) -> int:
        place = image_of(self.session, request.path_params["image"])
        self.session.check_unlocked(place)
        return place


def _octets(tile: UInt8[np.ndarray, "256 256"], version: int) -> Response:
    return Response(tile.tobytes(), media_type="application/octet-stream", headers={"X-Version": str(version)})
