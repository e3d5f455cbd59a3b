"""The learner of a session, as the page's routes and the command know it; safe in threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ....errors import LabelError
from ...config.labelling import LabelConfig, TextVariant
from ...evaluation.suggest import pooled
from ...explanation.measure import ask, refuse_own_condition
from ...image_files.source import Box
from ...runtime.device import resolve_device
from ..data_set.features import Features
from ..predictor.layers import PredictionLayer
from ..predictor.predictor import Predictor, ViewedPart
from ..predictor.texts import default_encoder
from ..predictor.words import WordSpanEffect, word_effects
from ..session.session import Change, Session
from .initial_run import InitialRun
from .learner_inputs import LearnerInputs
from .prediction_schedule import PredictionSchedule
from .suggestion import ImageSuggestion, suggest
from .work_queue import Mode, WorkQueue
from .worker import Worker

LEARNT_FROM = frozenset({"labels", "state", "classes"})
"""Kinds of changes after which there is something to learn."""


class Learner:
    """Learns from a session's labels while one draws, and predicts its images.

    Args:
        session: open.
        features: of its images, as they come.
        config: `run` to begin with, `device`, and `offline`, which holds for new texts too.
        notify: is given events for the page.

    Raises:
        RunError: if the run is absent, unfinished or damaged.
        CacheMismatchError: if there are features already and they do not fit the run.
        ConfigError: if the session's classes do not begin with the run's, or there is no such device.
    """

    def __init__(
        self,
        session: Session,
        features: Features,
        config: LabelConfig,
        notify: Callable[[Mapping[str, Any]], None],
    ) -> None:
        device = resolve_device(config.device)
        initial = InitialRun.load(config.run, device) if config.run else None
        if initial:
            initial.check_classes([one.name for one in session.classes])
            if features.reader:
                initial.open(features.reader, device)
        self._session, self._features, self._notify = session, features, notify
        self._queue, self._predictor = WorkQueue(), Predictor(session, notify)
        self._inputs = LearnerInputs(
            session, features, self._predictor, self._queue, initial=initial, device=device, offline=config.offline
        )
        schedule = PredictionSchedule(session, self._inputs, self._predictor)
        self._worker = Worker(session, self._inputs, schedule, self._queue, notify=notify, tell=self._tell)
        if initial:
            self._worker.line = initial.line
        self._pooled: dict[str, Float[Tensor, " channel"]] = {}
        session.listen(self._on_change)
        features.listen(self._queue.look)

    def start(self) -> None:
        """Begin to learn and to predict, in a thread."""
        self._worker.start()

    def stop(self) -> None:
        """End the thread."""
        self._worker.stop()

    def look(self, image: int, box: Box, variant: TextVariant) -> None:
        """Predict this part of an image before the rest."""
        self._queue.look(ViewedPart(image, box, variant))

    def train(self, mode: Mode) -> None:
        """Learn once, with each change, or no more."""
        self._queue.train(mode)
        self._tell()

    def preview(self, image: int, text: str | None) -> int:
        """Predict an image with another text (`None`: with none) as the variant `other`.

        Returns:
            The version that its mask has at least.

        Raises:
            ConfigError: if the activations depend on the texts.
        """
        if reader := self._features.reader:
            refuse_own_condition(reader.manifest.features.condition)
        version = self._predictor.preview(image, text)
        self._queue.look(ViewedPart(image, (0, 0, *self._session.images[image].size), "other"))
        return version

    def words(self, image: int) -> list[WordSpanEffect]:
        """The effect of each word of an image's text on its mask; of an image in tiles, on the first.

        Raises:
            LabelError: if there is no head yet, no text, or no features.
            DataError: if the text has no words.
            ConfigError: if no text can be read.
            SourceError: if the text encoder cannot be loaded.
        """
        answer, trainer = self._worker.answer, self._worker.trainer
        text, rows = self._session.text(image), self._features.rows(image)
        if answer is None or answer.head is None or trainer is None or not rows:
            raise _nothing_yet("no head has learnt yet", "a head", "draw on two classes first")
        if not text.strip() or not self._inputs.reads_texts:
            raise _nothing_yet("the head reads no text of this image", "a text", "write one")
        names = tuple(one.name for one in self._session.classes[: answer.head.members[0].spec.n_classes])
        question = ask(trainer.texts.encoder, text, names, trainer.data.device)
        return word_effects(answer.head, self._predictor.input(rows[0], text), question)

    def suggest(self) -> ImageSuggestion:
        """The image to label next, of those that are neither labelled nor locked.

        Raises:
            LabelError: if there is none.
        """
        images = range(len(self._session.images))
        free = [image for image in images if not self._session.locked(image)]
        candidates = [image for image in free if self._session.state(image) == "unlabelled"]
        labelled = [image for image in free if self._session.state(image) != "unlabelled"]
        features = {image: self._features_of(image) for image in free if self._features.rows(image)}
        known = {image: self._predictor.uncertainty(image) for image in candidates}
        return suggest(
            candidates,
            labelled,
            {image: of_image for image, of_image in features.items() if of_image is not None},
            {image: value for image, value in known.items() if value is not None},
        )

    def status(self) -> dict[str, Any]:
        """The state, as the page shows it."""
        reader, worker = self._features.reader, self._worker
        has_encoder = bool(reader and reader.manifest.texts) or default_encoder() is not None
        return {
            "continuous": self._queue.continuous,
            "busy": worker.busy,
            "line": worker.line,
            "text_used": worker.text_used,
            "has_text_encoder": has_encoder and self._inputs.reads_texts,
        }

    def layer(self, image: int, kind: str, variant: TextVariant) -> PredictionLayer | None:
        """The `mask` or the `uncertainty` of an image; `None`: not predicted yet."""
        return self._predictor.layer(image, kind, variant)

    def uncertainty(self, image: int) -> float | None:
        """Of an image with its own text, mean entropy in nats; `None`: not predicted yet."""
        return self._predictor.uncertainty(image)

    def _on_change(self, change: Change) -> None:
        if change.kind == "text" and change.image is not None:
            self._predictor.forget(change.image, "own")
            if self._session.labels(change.image).box is None:
                self._queue.look()
                return
        if change.kind in LEARNT_FROM | {"text"}:
            self._queue.learn([] if change.image is None else [change.image])
        else:
            self._queue.look()

    def _tell(self) -> None:
        self._notify({"type": "learner"} | self.status())

    def _features_of(self, image: int) -> Float[Tensor, " channel"] | None:
        """Means of an image's activations, computed once."""
        trainer, entry = self._worker.trainer, self._session.images[image]
        if entry.id not in self._pooled and trainer is not None:
            self._pooled[entry.id] = pooled(trainer.data, self._features.rows(image))
        return self._pooled.get(entry.id)


def _nothing_yet(got: str, expected: str, do: str) -> LabelError:
    return LabelError("the effect of words cannot be measured", got, expected, do, "conflict")
