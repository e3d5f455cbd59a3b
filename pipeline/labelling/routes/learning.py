"""Routes that ask the learner, and the export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from starlette.routing import Route

from ....errors import LabelError
from ...config.labelling import ExportKind, TextVariant
from ...config.prediction import MaskFormat
from ..session.session import Session
from .requests import image_of, missing, posted

if TYPE_CHECKING:
    from ..data_set.export import Exporter
    from ..learner.learner import Learner


class LookRequest(msgspec.Struct, frozen=True):
    """The part of an image that is in view."""

    image: int
    box: tuple[int, int, int, int]
    variant: TextVariant = "own"


class TrainRequest(msgspec.Struct, frozen=True):
    """When the head learns."""

    mode: Literal["once", "continuous", "stop"]


class PreviewRequest(msgspec.Struct, frozen=True):
    """Another text for an image, which is not kept."""

    image: int
    text: str | None = None


class WordsRequest(msgspec.Struct, frozen=True):
    """The image whose text is looked into."""

    image: int


class SuggestRequest(msgspec.Struct, frozen=True):
    """Nothing more to say."""


class ExportRequest(msgspec.Struct, frozen=True):
    """Parts of the export that are written."""

    kind: ExportKind
    formats: tuple[MaskFormat, ...] | None = None
    """Of masks; `None`: as `predict` has them."""


@dataclass(frozen=True)
class Learning:
    """The routes."""

    session: Session
    learner: Learner | None
    exporter: Exporter | None

    def routes(self) -> list[Route]:
        """One for each question."""
        endpoints = {
            "look": posted(LookRequest, self._look),
            "train": posted(TrainRequest, self._train),
            "preview": posted(PreviewRequest, self._preview),
            "words": posted(WordsRequest, self._words),
            "suggest": posted(SuggestRequest, self._suggest),
            "export": posted(ExportRequest, self._export),
        }
        return [Route(f"/api/{name}", endpoint, methods=["POST"]) for name, endpoint in endpoints.items()]

    def _look(self, body: LookRequest) -> dict[str, Any]:
        image = image_of(self.session, body.image)
        (height, width), (top, left, n_rows, n_columns) = self.session.images[image].size, body.box
        bottom, right = min(top + n_rows, height), min(left + n_columns, width)
        top, left = max(top, 0), max(left, 0)
        if top >= bottom or left >= right:
            raise LabelError(
                "the view shows nothing of the image", str(body.box), f"a part of {height} x {width}", "move it back"
            )
        self._learner.look(image, (top, left, bottom - top, right - left), body.variant)
        return {}

    def _train(self, body: TrainRequest) -> dict[str, Any]:
        self._learner.train(body.mode)
        return {}

    def _preview(self, body: PreviewRequest) -> dict[str, Any]:
        return {"version": self._learner.preview(self._unlocked(body.image), body.text)}

    def _words(self, body: WordsRequest) -> dict[str, Any]:
        words = self._learner.words(self._unlocked(body.image))
        return {
            "words": [{"start": one.start, "end": one.end, "word": one.word, "effect": one.effect} for one in words]
        }

    def _suggest(self, _: SuggestRequest) -> dict[str, Any]:
        suggestion = self._learner.suggest()
        return {"image": suggestion.image, "why": suggestion.why}

    def _export(self, body: ExportRequest) -> dict[str, Any]:
        if self.exporter is None:
            raise missing("export")
        self.exporter.start(body.kind, body.formats)
        return {"started": True}

    def _unlocked(self, image: int) -> int:
        self.session.check_unlocked(image_of(self.session, image))
        return image

    @property
    def _learner(self) -> Learner:
        if self.learner is None:
            raise missing("learner")
        return self.learner
