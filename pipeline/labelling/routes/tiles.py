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
    predicted: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_READERS))

    def routes(self) -> list[Route]:
        """One for each kind of tile."""
        pictures, image, layer = self.pictures, "/api/images/{image:int}", "{variant}/" + _TILE
        return [
            Route(f"{image}/thumbnail", self._drawn(lambda place, _: pictures.thumbnail(place), _SHRINKERS)),
            Route(
                f"{image}/picture/{_TILE}",
                self._drawn(lambda place, request: pictures.tile(place, key_of(request)), _READERS),
            ),
            Route(f"{image}/labels/{_TILE}", self._labels, middleware=_PACKED),
            Route(f"{image}/mask/{layer}", self._layer("mask"), middleware=_PACKED),
            Route(f"{image}/uncertainty/{layer}", self._layer("uncertainty"), middleware=_PACKED),
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

    async def _labels(self, request: Request) -> Response:
        place, key = self._unlocked(request), key_of(request)
        labels = self.session.labels(place)
        tile = await in_thread(lambda: labels.tile(*key), self.predicted)
        if tile is None:
            raise no_such_tile(key)
        return _octets(tile, labels.version)

    def _layer(self, kind: str) -> Endpoint:
        async def endpoint(request: Request) -> Response:
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
            return _octets(await in_thread(lambda: layer.tile(*key), self.predicted), layer.version)

        return endpoint

    def _unlocked(self, request: Request) -> int:
        place = image_of(self.session, request.path_params["image"])
        self.session.check_unlocked(place)
        return place


def _octets(tile: UInt8[np.ndarray, "256 256"], version: int) -> Response:
    return Response(tile.tobytes(), media_type="application/octet-stream", headers={"X-Version": str(version)})
