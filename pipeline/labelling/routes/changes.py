"""Routes that change the session: each is an event of the log, saved before the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import Route

from ....errors import LabelError
from ...config.labelling import TextVariant
from ..session.session import Session
from ..strokes.events import (
    ClassChange,
    Event,
    GivenState,
    PixelRun,
    Redo,
    StateChange,
    Stroke,
    TextChange,
    Tool,
    Undo,
    Unlock,
)
from .requests import image_of, missing, posted

if TYPE_CHECKING:
    from ..learner.learner import Learner

_DECIMALS = 2


class StrokeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was drawn."""

    key: str
    image: int
    tool: Tool
    label: int | None = msgspec.field(name="class", default=None)
    size: float = 0.0
    points: list[tuple[float, float]]
    variant: TextVariant = "own"
    """Of the mask that a bucket takes an object of."""


class StepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Undo or redo."""

    key: str
    image: int | None = None


class TextRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Other words."""

    key: str
    image: int
    text: str


class StateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Another state."""

    key: str
    image: int
    state: GivenState


class ClassRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A new class, or another name or colour."""

    key: str
    index: int | None = None
    name: str
    colour: str


class UnlockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to label the test split."""

    key: str


@dataclass(frozen=True)
class Changes:
    """The routes."""

    session: Session
    learner: Learner | None

    def routes(self) -> list[Route]:
        """One for each kind of event."""
        endpoints = {
            "strokes": posted(StrokeRequest, self.draw),
            "undo": posted(StepRequest, lambda body: self._step(Undo(key=body.key, image=self._id(body.image)))),
            "redo": posted(StepRequest, lambda body: self._step(Redo(key=body.key, image=self._id(body.image)))),
            "texts": posted(TextRequest, self._change_text),
            "classes": posted(ClassRequest, self._change_class),
            "states": posted(StateRequest, self._change_state),
            "unlock": posted(UnlockRequest, lambda body: self._saved(Unlock(key=body.key))),
        }
        return [Route(f"/api/{name}", endpoint, methods=["POST"]) for name, endpoint in endpoints.items()]

    def draw(self, body: StrokeRequest) -> dict[str, Any]:
        """Add a stroke."""
        label, runs = body.label, tuple[PixelRun, ...]()
        if body.tool == "bucket" and not self.session.knows(body.key):
            label, runs = self._object(body)
        points = tuple((round(x, _DECIMALS), round(y, _DECIMALS)) for x, y in body.points)
        image, size = self._id(body.image), round(body.size, _DECIMALS)
        assert image is not None
        return self._saved(
            Stroke(key=body.key, image=image, tool=body.tool, label=label, size=size, points=points, runs=runs)
        )

    def _object(self, body: StrokeRequest) -> tuple[int, tuple[PixelRun, ...]]:
        """Class and pixels of the predicted object at a place."""
        if self.learner is None:
            raise missing("learner")
        image = image_of(self.session, body.image)
        self.session.check_unlocked(image)
        layer = self.learner.layer(image, "mask", body.variant)
        found = layer.object_at(*body.points[0]) if layer is not None and body.points else None
        if found is None:
            raise LabelError(
                "there is no object to take",
                "nothing predicted at this place",
                "a predicted mask",
                "wait for the mask",
                "conflict",
            )
        runs = tuple((int(row), int(left), int(n)) for row, left, n in found.runs)
        return (found.label if body.label is None else body.label), runs

    def _change_text(self, body: TextRequest) -> dict[str, Any]:
        return self._saved(TextChange(key=body.key, image=self._id(body.image) or "", text=body.text))

    def _change_state(self, body: StateRequest) -> dict[str, Any]:
        return self._saved(StateChange(key=body.key, image=self._id(body.image) or "", state=body.state))

    def _change_class(self, body: ClassRequest) -> dict[str, Any]:
        return self._saved(ClassChange(key=body.key, index=body.index, name=body.name, colour=body.colour))

    def _step(self, event: Undo | Redo) -> dict[str, Any]:
        applied = self.session.apply(event)
        return {
            "sequence": applied.sequence,
            "undone" if isinstance(event, Undo) else "redone": applied.stroke,
            "image": applied.image,
            "version": applied.version,
            "box": applied.box,
        }

    def _saved(self, event: Event) -> dict[str, Any]:
        applied = self.session.apply(event)
        return {"sequence": applied.sequence, "version": applied.version, "box": applied.box}

    def _id(self, image: int | None) -> str | None:
        return None if image is None else self.session.images[image_of(self.session, image)].id
