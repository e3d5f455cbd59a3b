"""A labelling session on a small cache with its learner, whose events are kept and waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from label_server import new_key

NAMES = ("background", "foreground")


@dataclass
class Studio:
    """A session, its features and its learner."""

    session: Any
    features: Any
    learner: Any = None
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def draw(self, label: int | None, *points: tuple[float, float], image: int = 0, size: float = 4.0) -> int:
        from textdiff.pipeline.labelling.strokes.events import Stroke

        name, tool = self.session.images[image].id, "eraser" if label is None else "brush"
        stroke = Stroke(key=new_key(), image=name, tool=tool, label=label, size=size, points=points, runs=())
        return self.session.apply(stroke).version

    def say(self, image: int, text: str) -> None:
        from textdiff.pipeline.labelling.strokes.events import TextChange

        self.session.apply(TextChange(key=new_key(), image=self.session.images[image].id, text=text))

    def look(self, image: int = 0, variant: str = "own") -> None:
        self.learner.look(image, (0, 0, *self.session.images[image].size), variant)

    def wait(self, kind: str, after: int = 0, timeout_s: float = 60.0, **named: Any) -> Mapping[str, Any]:
        """The first event of a kind, after some, with these values."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for event in self.events[after:]:
                if event["type"] == kind and all(event[name] == value for name, value in named.items()):
                    return event
            time.sleep(0.01)
        raise AssertionError(f"no {kind} with {named} among {self.events[after:]}")


@contextmanager
def studio(
    cache: Path, out: Path, *, masks: bool = False, run: Path | None = None, offline: bool = False, **changed: Any
) -> Iterator[Studio]:
    """A session on a cache, with its images' masks or without; `changed` are fields of all images."""
    from textdiff.pipeline.config.labelling import LabelConfig
    from textdiff.pipeline.labelling.data_set.features import Features
    from textdiff.pipeline.labelling.data_set.images import list_images
    from textdiff.pipeline.labelling.learner.learner import Learner
    from textdiff.pipeline.labelling.session.history import LabelClass
    from textdiff.pipeline.labelling.session.session import Session
    from textdiff.pipeline.runtime.progress import Progress

    config = LabelConfig(cache, out, run=run, device="cpu", offline=offline)
    listing = list_images(config, Progress())
    fields = changed | ({} if masks else {"mask": None})
    listing = replace(listing, images=tuple(replace(image, **fields) for image in listing.images))
    classes = [LabelClass(name, "#000000") for name in NAMES]
    session = Session(listing.images, classes, out / "strokes" / "me.log", mask_classes=listing.classes)
    made = Studio(session, Features(listing, config, lambda event: None))
    try:
        made.learner = Learner(session, made.features, config, made.events.append)
        made.learner.start()
        yield made
    finally:
        if made.learner:
            made.learner.stop()
        session.close()
