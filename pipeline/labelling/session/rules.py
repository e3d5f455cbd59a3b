"""Rules that an event meets before it is written: everything that a fold relies on."""

from __future__ import annotations

import itertools
import math
import re

import msgspec

from ....errors import LabelError
from ..strokes.events import ClassChange, Event, Redo, StateChange, Stroke, TextChange, Undo
from .history import History

MOST_POINTS, MOST_RUNS, MOST_CLASSES, MOST_OF_A_TEXT = 10_000, 500_000, 100, 20_000
FARTHEST, LARGEST, LONGEST = 1e6, 4096.0, 2.0**22
"""Of a point from the corner, of a brush, and of a path, in pixels."""
_KEY = re.compile(r"[0-9A-Za-z-]{8,64}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LEAST_POINTS = {"brush": 1, "eraser": 1, "polygon": 3, "bucket": 1}


def checked(history: History, event: Event) -> Event:
    """The event with what the session knows: the stroke that is meant, the new class's index.

    Raises:
        LabelError: It cannot follow what was said before.
    """
    if not _KEY.fullmatch(event.key):
        raise LabelError("the key cannot be used", repr(event.key[:80]), "a UUID", "send a new one with each event")
    match event:
        case Stroke():
            _check_image(history, event.image)
            _check_stroke(history, event)
            _check_runs(event, history.images[history.places[event.image]].size)
        case Undo() | Redo():
            return _with_stroke(history, event)
        case TextChange() | StateChange():
            _check_image(history, event.image)
            if isinstance(event, TextChange):
                _check_words("text", event.text, MOST_OF_A_TEXT)
        case ClassChange():
            return _numbered(history, event)
    return event


def check_unlocked(history: History, place: int) -> None:
    """Refuse an image of the test split before somebody unlocked it.

    Raises:
        LabelError: It is locked.
    """
    image = history.images[place]
    if image.split == "test" and not history.unlocked:
        raise LabelError(
            f"image {place} is locked",
            "an image of the test split",
            "one of train or val",
            "unlock the test split first: figures of images that one has drawn on say nothing of new ones",
            "forbidden",
        )


def _check_image(history: History, image: str) -> None:
    if image not in history.places:
        raise LabelError("the image is not in this session", repr(image), "an id of its list", "reload", "absent")
    check_unlocked(history, history.places[image])


def _check_stroke(history: History, stroke: Stroke) -> None:
    n_classes, tool = len(history.classes), stroke.tool
    if (stroke.label is None) != (tool == "eraser"):
        expected = "none" if tool == "eraser" else f"0 to {n_classes - 1}"
        raise LabelError(f"the {tool} has another class", str(stroke.label), expected, "choose a class of the list")
    if stroke.label is not None and not 0 <= stroke.label < n_classes:
        raise LabelError("the class does not exist", str(stroke.label), f"0 to {n_classes - 1}", "add it first")
    if tool in ("brush", "eraser") and not 0 < stroke.size <= LARGEST:
        raise LabelError(f"the {tool} has no such size", str(stroke.size), f"above 0 to {LARGEST:g}", "choose another")
    if not _LEAST_POINTS[tool] <= len(stroke.points) <= MOST_POINTS:
        expected = f"{_LEAST_POINTS[tool]} to {MOST_POINTS}"
        raise LabelError(f"the {tool} has another number of points", str(len(stroke.points)), expected, "draw again")
    if not all(math.isfinite(value) and abs(value) <= FARTHEST for point in stroke.points for value in point):
        raise LabelError("a point is nowhere near the image", "such numbers", f"up to {FARTHEST:g}", "draw again")
    if (length := sum(itertools.starmap(math.dist, itertools.pairwise(stroke.points)))) > LONGEST:
        raise LabelError("the path is too long", f"{length:.0f} pixels", f"up to {LONGEST:.0f}", "draw less at once")


def _check_runs(stroke: Stroke, size: tuple[int, int]) -> None:
    if (stroke.tool == "bucket") != bool(stroke.runs) or len(stroke.runs) > MOST_RUNS:
        expected = f"1 to {MOST_RUNS} of a bucket, else none"
        raise LabelError("the object has another number of runs", str(len(stroke.runs)), expected, "draw it")
    height, width = size
    if not all(0 <= y < height and x >= 0 and n > 0 and x + n <= width for y, x, n in stroke.runs):
        raise LabelError("the object is not in the image", "other runs", f"inside {height} x {width}", "draw it")


def _with_stroke(history: History, event: Undo | Redo) -> Undo | Redo:
    if event.image is not None:
        _check_image(history, event.image)
    place = None if event.image is None else history.places[event.image]
    found = history.last(place, undone=isinstance(event, Redo))
    if found is None:
        what = "there is nothing to redo" if isinstance(event, Redo) else "there is nothing to undo"
        raise LabelError(what, "no such stroke", "one that was drawn", "draw first", "conflict")
    if event.stroke not in ("", found[1].key):
        raise LabelError("another stroke is the last", event.stroke, found[1].key, "restore the log from a copy")
    return msgspec.structs.replace(event, stroke=found[1].key)


def _numbered(history: History, event: ClassChange) -> ClassChange:
    n_classes = len(history.classes)
    _check_words("name", event.name, 80)
    if not _COLOUR.fullmatch(event.colour):
        raise LabelError("the colour cannot be read", repr(event.colour), "#rrggbb", "choose a colour")
    index = n_classes if event.index is None else event.index
    if not 0 <= index <= min(n_classes, MOST_CLASSES - 1):
        raise LabelError("the class does not exist", str(index), f"0 to {n_classes - 1}", "rename one of the list")
    names = [one.name.casefold() for place, one in enumerate(history.classes) if place != index]
    if event.name.casefold() in names:
        raise LabelError("two classes have one name", repr(event.name), "a name of its own", "choose another")
    return msgspec.structs.replace(event, index=index)


def _check_words(what: str, words: str, most: int) -> None:
    allowed = "\n\t" if what == "text" else ""
    is_plain = all(one.isprintable() or one in allowed for one in words)
    if len(words) > most or not is_plain or (what == "name" and not words.strip()):
        expected = f"up to {most} characters, none for control"
        raise LabelError(f"the {what} cannot be used", f"{len(words)} characters", expected, "write another")
