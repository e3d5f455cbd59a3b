"""Answers shown: first what is in view, then all other images for their uncertainty, coarse to fine."""

from __future__ import annotations

import time
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ....cache.format.samples import SampleRow
from ...config.labelling import TextVariant
from ..predictor.answer import Answer
from ..predictor.predictor import Predictor, Stage, ViewedPart
from ..session.session import Session
from .learner_inputs import LearnerInputs

MOST_ROWS = 64
"""Of an image, that are predicted while nobody looks: enough for its uncertainty."""
MOST_REMEMBERED = 8
"""Rows of which the head's probabilities are kept: those of a view."""


class PredictionSchedule:
    """Predictions in the order in which they are wanted; used by the learner's thread.

    Args:
        session: says which images are locked.
        inputs: the rows that are there.
        predictor: shows them.
    """

    def __init__(self, session: Session, inputs: LearnerInputs, predictor: Predictor) -> None:
        self._session, self._inputs, self._predictor = session, inputs, predictor
        self.learnt_of: dict[int, int] = {}
        """Image → version of its labels that the answer knows."""
        self.seconds = 0.0
        """Of the last fine view."""
        self._of_head: dict[tuple[str, TextVariant], tuple[str, Float[Tensor, "n_classes y x"]]] = {}

    def coarse_view(self, answer: Answer, view: ViewedPart | None, check: Callable[[], None]) -> None:
        """Show a view by the regression and what the head said of it before."""
        if view is not None and not self._session.locked(view.image):
            self._show(answer, view, "coarse", check)

    def fine_view(self, answer: Answer, view: ViewedPart | None, check: Callable[[], None]) -> None:
        """Show a view, and then the same under other variants of the text that were asked for."""
        if view is None or self._session.locked(view.image):
            return
        started = time.monotonic()
        if self._show(answer, view, "fine", check):
            self.seconds = time.monotonic() - started
        for variant in self._predictor.variants(view.image):
            self._show(answer, ViewedPart(view.image, view.box, variant), "fine", check)

    def rest(self, answer: Answer, check: Callable[[], None]) -> None:
        """Predict all images; coarsely first where nothing was predicted yet."""
        for stage in ("coarse", "fine") if answer.ridge and answer.head else ("fine",):
            for image in range(len(self._session.images)):
                if self._session.locked(image) or (
                    stage == "coarse" and self._predictor.uncertainty(image) is not None
                ):
                    continue
                rows = self._inputs.rows_of(image)
                some = rows[:: -(-len(rows) // MOST_ROWS)] if rows else ()
                self._predict(
                    answer, ViewedPart(image, (0, 0, *self._session.images[image].size), "own"), some, stage, check
                )

    def _show(self, answer: Answer, view: ViewedPart, stage: Stage, check: Callable[[], None]) -> bool:
        """Predict what is missing of a view; says whether anything was."""
        return self._predict(answer, view, self._inputs.rows_of(view.image), stage, check)

    def _predict(
        self, answer: Answer, view: ViewedPart, rows: tuple[SampleRow, ...], stage: Stage, check: Callable[[], None]
    ) -> bool:
        missing = self._predictor.missing(view, rows, answer, stage) if rows else []
        for row in missing:
            check()
            probabilities = self._probabilities(answer, row, view, stage)
            self._predictor.publish(
                view,
                row,
                probabilities,
                answer=answer,
                stage=stage,
                labels_version=self.learnt_of.get(view.image, 0),
            )
        return bool(missing)

    def _probabilities(
        self, answer: Answer, row: SampleRow, view: ViewedPart, stage: Stage
    ) -> Float[Tensor, "n_classes y x"]:
        text, key = self._predictor.text(view.image, view.variant), (row.id, view.variant)
        x = self._predictor.input(row, text)
        of_ridge = answer.of_ridge(x)
        if stage == "fine":
            of_head = answer.of_head(x)
            if of_head is not None:
                self._remember(key, text, of_head)
            return answer.mean(of_ridge, of_head)
        known_text, of_head = self._of_head.get(key, ("", None))
        return answer.mean(of_ridge, of_head if known_text == text else None)

    def _remember(self, key: tuple[str, TextVariant], text: str, of_head: Float[Tensor, "n_classes y x"]) -> None:
        self._of_head.pop(key, None)
        self._of_head[key] = text, of_head
        if len(self._of_head) > MOST_REMEMBERED:
            self._of_head.pop(next(iter(self._of_head)))
