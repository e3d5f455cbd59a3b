"""State of a session as a fold over its events: replaying a log gives the same state, to the pixel.

Each image has a stack of strokes that stand, and one of those that were taken back, which a new stroke empties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...image_files.source import Box
from ..data_set.images import ImageEntry
from ..strokes.events import ClassChange, Event, GivenState, Redo, StateChange, Stroke, TextChange, Undo, Unlock
from ..strokes.raster import LabelRaster
from ..strokes.shapes import Mark

State = Literal["unlabelled", "scribbled", "full", "reviewed"]


@dataclass(frozen=True)
class LabelClass:
    """A class that may be drawn; its place is its index, 0 the background."""

    name: str
    colour: str
    """#rrggbb."""


@dataclass(frozen=True)
class Applied:
    """Result of an event."""

    sequence: int
    image: int | None
    """`None`: all images."""
    version: int
    """Of the image's labels; 0 without an image."""
    box: Box | None
    """Part of the image that may have other labels now."""
    stroke: str = ""
    """Key of the stroke that was added, taken back or put back."""


@dataclass
class _Past:
    """Events of one image."""

    raster: LabelRaster
    standing: list[tuple[int, Mark]] = field(default_factory=list)
    """With the number of the event that put it there."""
    undone: list[tuple[int, Mark]] = field(default_factory=list)
    """With the number of the event that took it back."""
    text: str | None = None
    reviewed: bool = False


class History:
    """The state, and how an event changes it. Its caller holds a lock."""

    def __init__(
        self,
        images: Sequence[ImageEntry],
        classes: Sequence[LabelClass],
        raster: Callable[[ImageEntry], LabelRaster],
    ) -> None:
        """Before the first event; `raster` makes the labels that an image has then."""
        self.images = tuple(images)
        self.places = {image.id: place for place, image in enumerate(self.images)}
        self.classes = tuple(classes)
        self.unlocked = False
        self.done: dict[str, Applied] = {}
        """By the event's key."""
        self._raster = raster
        self._pasts: dict[int, _Past] = {}

    def past(self, image: int) -> _Past:
        """Events of an image."""
        if image not in self._pasts:
            self._pasts[image] = _Past(self._raster(self.images[image]))
        return self._pasts[image]

    def state(self, image: int) -> State:
        """How far an image is labelled."""
        past = self._pasts.get(image)
        if past is not None and past.reviewed:
            return "reviewed"
        if (past is not None and past.raster.filled) or self.images[image].mask is not None:
            return "full"
        return "scribbled" if past is not None and past.standing else "unlabelled"

    def last(self, image: int | None, *, undone: bool = False) -> tuple[int, Mark] | None:
        """The image and stroke that an undo, or a redo where `undone`, means; `None`: there is none.

        Args:
            image: `None`: of all images, the one that was drawn, or taken back, last.
            undone: whether a stroke that was taken back is meant.
        """
        found: tuple[int, int, Mark] | None = None
        for place, past in self._pasts.items() if image is None else [(image, self.past(image))]:
            stack = past.undone if undone else past.standing
            if stack and (found is None or stack[-1][0] > found[0]):
                found = stack[-1][0], place, stack[-1][1]
        return None if found is None else found[1:]

    def fold(self, sequence: int, event: Event) -> Applied:
        """Change the state by an event that was checked."""
        applied = self._fold(sequence, event)
        self.done[event.key] = applied
        return applied

    def _fold(self, sequence: int, event: Event) -> Applied:
        match event:
            case Stroke():
                return self._draw(sequence, self.places[event.image], Mark.of(event))
            case Undo():
                return self._undo(sequence, None if event.image is None else self.places[event.image])
            case Redo():
                return self._redo(sequence, None if event.image is None else self.places[event.image])
            case TextChange():
                place = self.places[event.image]
                self.past(place).text = event.text
                return Applied(sequence, place, self.past(place).raster.version, None)
            case StateChange():
                return self._mark_state(sequence, self.places[event.image], event.state)
            case ClassChange():
                self._name_class(event)
            case Unlock():
                self.unlocked = True
        return Applied(sequence, None, 0, None)

    def _draw(self, sequence: int, place: int, mark: Mark) -> Applied:
        past = self.past(place)
        past.undone.clear()
        past.standing.append((sequence, mark))
        return self._changed(sequence, place, past.raster.push(mark), mark.key)

    def _undo(self, sequence: int, image: int | None) -> Applied:
        found = self.last(image)
        assert found is not None
        place, mark = found
        past = self.past(place)
        past.standing.pop()
        past.undone.append((sequence, mark))
        return self._changed(sequence, place, past.raster.pop(), mark.key)

    def _redo(self, sequence: int, image: int | None) -> Applied:
        found = self.last(image, undone=True)
        assert found is not None
        place, mark = found
        past = self.past(place)
        past.undone.pop()
        past.standing.append((sequence, mark))
        return self._changed(sequence, place, past.raster.push(mark), mark.key)

    def _mark_state(self, sequence: int, place: int, state: GivenState) -> Applied:
        past = self.past(place)
        filled = past.raster.filled if state == "reviewed" else state == "full"
        box: Box | None = None if filled == past.raster.filled else (0, 0, *past.raster.size)
        past.raster.filled = filled
        applied = self._changed(sequence, place, box)
        past.reviewed = state == "reviewed"
        return applied

    def _changed(self, sequence: int, place: int, box: Box | None, stroke: str = "") -> Applied:
        past = self.past(place)
        past.raster.version, past.reviewed = sequence, False
        return Applied(sequence, place, sequence, box, stroke)

    def _name_class(self, event: ClassChange) -> None:
        classes, index = [*self.classes], len(self.classes) if event.index is None else event.index
        classes[index : index + 1] = [LabelClass(event.name, event.colour)]
        self.classes = tuple(classes)
