"""Everything that a person says while labelling, one frozen structure an event.

An event names an image by its id, so that the log outlives the order of a listing. Pixels are native, x to the right
and y down; the pixel (0, 0) covers [0, 1) x [0, 1).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Tool = Literal["brush", "eraser", "polygon", "bucket"]
GivenState = Literal["reviewed", "full", "scribbled"]
PixelRun = tuple[int, int, int]
"""Row, first column and length of pixels that stand side by side."""


class Stroke(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="stroke"):
    """Pixels of an image that take a class, or lose it."""

    key: str
    """Unique; the same event that is sent twice has the same key, and counts once."""
    image: str
    tool: Tool
    label: int | None = msgspec.field(name="class", default=None)
    """Index of the class; `None` of an eraser."""
    size: float = 0.0
    """Diameter of a brush or an eraser in pixels."""
    points: tuple[tuple[float, float], ...] = ()
    """(x, y) of a brush's path, of a polygon's corners, of the place where a bucket was emptied."""
    runs: tuple[PixelRun, ...] = ()
    """The object of the predicted mask that a bucket took."""


class Undo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="undo"):
    """The last stroke is taken back."""

    key: str
    image: str | None = None
    """`None`: the last one of all images."""
    stroke: str = ""
    """Key of the stroke, as the session found it."""


class Redo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="redo"):
    """The stroke that was taken back last stands again."""

    key: str
    image: str | None = None
    stroke: str = ""


class TextChange(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="text"):
    """An image has another text."""

    key: str
    image: str
    text: str


class ClassChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="class"):
    """A class is new, or has another name or colour."""

    key: str
    index: int | None = None
    """`None`: a new class, which the session numbers."""
    name: str
    colour: str
    """#rrggbb."""


class StateChange(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="state"):
    """An image counts as labelled to another extent.

    `full`: every pixel that is not labelled counts as background, and those of later strokes' erasers. `scribbled`:
    none does. `reviewed`: somebody has checked the labels, until they change.
    """

    key: str
    image: str
    state: GivenState


class Unlock(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="unlock"):
    """Images of the test split may be labelled from now on."""

    key: str


Event = Stroke | Undo | Redo | TextChange | ClassChange | StateChange | Unlock


class Record(msgspec.Struct, frozen=True):
    """An event as the log has it."""

    sequence: int
    """From 1, without gaps."""
    time_s: float
    """Seconds since 1970."""
    event: Event
