"""What the routes ask beside the session: learner, features and export, any of which may not be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Int, UInt8

from ....cache.format.samples import SampleRow
from ....errors import LabelError
from ...config.prediction import MaskFormat
from ...image_files.source import Box

ExportKind = Literal["run", "masks"]


Variant = Literal["own", "none", "other"]
"""The text that an image is shown with: its own, none, or that of the last preview."""


class Object(Protocol):
    """A connected part of a predicted mask."""

    @property
    def runs(self) -> Int[np.ndarray, "run 3"]:
        """Row, first column and length."""

    @property
    def label(self) -> int:
        """Its class."""


class Layer(Protocol):
    """A predicted mask, or its uncertainty, as tiles."""

    @property
    def version(self) -> int:
        """Number of the mask."""

    def tile(self, level: int, column: int, row: int) -> UInt8[np.ndarray, "256 256"]:
        """A tile."""

    def object_at(self, x: float, y: float) -> Object | None:
        """The connected part at a place, in native pixels; `None`: nothing is predicted there."""


class WordEffect(Protocol):
    """What a word of a text does to the mask."""

    @property
    def start(self) -> int:
        """Of the word in the text."""

    @property
    def end(self) -> int:
        """After its last character."""

    @property
    def word(self) -> str:
        """The word."""

    @property
    def effect(self) -> float:
        """From -1 to 1."""


class Suggestion(Protocol):
    """The image to label next."""

    @property
    def image(self) -> int:
        """Its place."""

    @property
    def why(self) -> str:
        """For people."""


class Learner(Protocol):
    """The head that learns while one draws."""

    def look(self, image: int, box: Box, variant: Variant) -> None:
        """Compute this part of an image before the rest."""

    def train(self, mode: Literal["once", "continuous", "stop"]) -> None:
        """Learn `once`, `continuous` or `stop`."""

    def preview(self, image: int, text: str | None) -> int:
        """Predict an image with another text; returns the version of that mask."""

    def words(self, image: int) -> Sequence[WordEffect]:
        """The effect of each word of an image's text."""

    def suggest(self) -> Suggestion:
        """The image to label next."""

    def status(self) -> Mapping[str, Any]:
        """The state, as the page shows it."""

    def layer(self, image: int, kind: str, variant: Variant) -> Layer | None:
        """The `mask` or the `uncertainty` of an image by a variant of its text; `None`: not predicted yet."""

    def uncertainty(self, image: int) -> float | None:
        """Of an image, in nats; `None`: not predicted yet."""


class Features(Protocol):
    """The cache as it grows."""

    def rows(self, image: int) -> tuple[SampleRow, ...]:
        """The rows of an image; none while it has no features."""

    def status(self) -> Mapping[str, Any]:
        """The state, as the page shows it."""


class Export(Protocol):
    """Starts an export and returns; progress and result go to the page as events."""

    def __call__(self, kind: ExportKind, formats: tuple[MaskFormat, ...] | None = None) -> None:
        """Start an export: a trained run, or masks by the newest run in some formats."""


def missing(what: str) -> LabelError:
    """The refusal of a request for a part that is not there."""
    return LabelError(
        f"this session has no {what}", "a request for it", "a session with one", "start `textdiff label`", "conflict"
    )
