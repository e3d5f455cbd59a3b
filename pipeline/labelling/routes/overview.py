"""The session as the page shows it, and the events that say what changed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from ..pictures.pictures import Pictures
from ..session.session import Change, Session
from ..strokes.tiles import n_levels_of
from .hub import Hub
from .requests import got

if TYPE_CHECKING:
    from ..data_set.features import Features
    from ..learner.learner import Learner

_NO_CACHE = {"ready": 0, "total": 0, "line": "", "running": False, "problem": None, "sources": [], "better": ""}
_NO_LEARNER = {"continuous": False, "busy": False, "line": "", "text_used": False, "has_text_encoder": False}


@dataclass(frozen=True)
class Overview:
    """Everything that a page begins with."""

    session: Session
    learner: Learner | None
    features: Features | None
    title: str
    out: Path

    def routes(self) -> list[Route]:
        """Of the session."""
        return [Route("/api/session", got(self.all))]

    def all(self) -> dict[str, Any]:
        """The content of /api/session."""
        return {
            "annotator": self.session.annotator,
            "title": self.title,
            "out": str(self.out),
            "classes": self.classes(),
            "tests_locked": self.session.tests_locked,
            "images": [self.image(place) for place in range(len(self.session.images))],
            "cache": _NO_CACHE if self.features is None else self.features.status(),
            "learner": _NO_LEARNER if self.learner is None else self.learner.status(),
            "history": self.history(),
        }

    def classes(self) -> list[dict[str, Any]]:
        """The classes, the background first."""
        return [
            {"index": index, "name": one.name, "colour": one.colour} for index, one in enumerate(self.session.classes)
        ]

    def history(self) -> dict[str, bool]:
        """Whether there is something to undo and to redo."""
        return {"undo": self.session.can_undo, "redo": self.session.can_redo}

    def image(self, place: int) -> dict[str, Any]:
        """An image with the state of its labels."""
        entry, labels = self.session.images[place], self.session.labels(place)
        return {
            "image": place,
            "id": entry.id,
            "split": entry.split,
            "group": entry.group,
            "size": entry.size,
            "n_levels": n_levels_of(entry.size),
            "state": self.session.state(place),
            "n_strokes": labels.n_strokes,
            "version": labels.version,
            "text": self.session.text(place),
            "uncertainty": None if self.learner is None else self.learner.uncertainty(place),
            "ready": self.features is not None and bool(self.features.rows(place)),
            "locked": self.session.locked(place),
        }

    def events(self, change: Change) -> list[Mapping[str, Any]]:
        """Messages to pages after a change."""
        if change.kind == "classes":
            return [{"type": "classes", "classes": self.classes()}]
        if change.image is None:
            places = [place for place, entry in enumerate(self.session.images) if entry.split == "test"]
            return [{"type": "image", **self.image(place)} for place in places]
        events: list[Mapping[str, Any]] = [{"type": "image", **self.image(change.image)}]
        if change.box is not None:
            named = {"image": change.image, "version": change.version, "box": change.box, "by": change.key}
            events.insert(0, {"type": "labels", **named})
        return [*events, {"type": "history", **self.history()}]


def tell_pages(overview: Overview, pictures: Pictures, hub: Hub) -> None:
    """Have every change of the session, and pictures that get sharper, sent to all pages."""

    def tell(change: Change) -> None:
        for event in overview.events(change):
            hub.publish(event)

    overview.session.listen(tell)
    hub.at_end(pictures.stop)
    pictures.listen(lambda image: hub.publish({"type": "picture", "image": image}))
