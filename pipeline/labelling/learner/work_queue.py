"""Requests of other threads to the learner's one: the newest counts, and work for an older one is given up."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal

from ..predictor.predictor import ViewedPart

Mode = Literal["once", "continuous", "stop"]


class Superseded(Exception):  # noqa: N818
    """Work was given up for a newer request."""


class WorkQueue:
    """Requests in three ranks: to learn, then to see a view, then the rest."""

    def __init__(self) -> None:
        self.continuous = True
        """Whether each change of labels is learnt at once."""
        self.view: ViewedPart | None = None
        self.stopping = False
        self._changed: set[int | None] = set()
        self._due = False
        self._n_lessons = self._n_looks = 0
        self._seen = (-1, -1)
        self._wake = threading.Condition()

    def learn(self, images: Iterable[int], *, now: bool = False) -> None:
        """The labels, or the texts, of images changed; `now`: learn them even if not continuously."""
        with self._wake:
            self._changed.update(images)
            if self.continuous or now:
                self._due, self._n_lessons = True, self._n_lessons + 1
                self._wake.notify()

    def train(self, mode: Mode) -> None:
        """Learn once, with each change, or no more."""
        with self._wake:
            self.continuous = mode == "continuous" or (mode == "once" and self.continuous)
            self._due, self._n_lessons = mode != "stop", self._n_lessons + 1
            self._wake.notify()

    def look(self, view: ViewedPart | None = None) -> None:
        """Show this part first; `None`: look again at what is in view."""
        with self._wake:
            self.view = view or self.view
            self._n_looks += 1
            self._wake.notify()

    def stop(self) -> None:
        """End the work."""
        with self._wake:
            self.stopping, self._n_lessons = True, self._n_lessons + 1
            self._wake.notify()

    def wait(self) -> bool:
        """Wait for a request that was not seen yet; false when the work is to end."""
        with self._wake:
            self._wake.wait_for(lambda: self.stopping or self._seen != (self._n_lessons, self._n_looks))
            self._seen = self._n_lessons, self._n_looks
            return not self.stopping

    def take_due(self) -> bool:
        """Whether there is something to learn; the lesson that follows meets all requests so far."""
        with self._wake:
            due, self._due = self._due, False
            self._seen = self._n_lessons, self._seen[1]
            return due

    def take_changed(self) -> int | None:
        """One of the images that changed, the one in view before others; `None`: no more of them."""
        with self._wake:
            first = self.view.image if self.view else None
            image = min(self._changed, key=lambda one: (one != first, one), default=None)
            self._changed -= {image}
            return image

    def put_back(self, image: int) -> None:
        """Have an image that was taken taken again."""
        with self._wake:
            self._changed.add(image)

    def check_lesson(self) -> None:
        """Give up learning for a newer lesson.

        Raises:
            Superseded: if there is one.
        """
        if self._n_lessons != self._seen[0]:
            raise Superseded

    def check_rest(self) -> None:
        """Give up what nobody looks at for a newer lesson or view.

        Raises:
            Superseded: if there is one.
        """
        if self._seen != (self._n_lessons, self._n_looks):
            raise Superseded
