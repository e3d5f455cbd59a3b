"""Inputs of the learner: rows of the cache as it grows, the texts that are shown, and the trainer of both."""

from __future__ import annotations

from collections.abc import Sequence

from ....cache.format.samples import SampleRow
from ....cache.format.spec import TextSpec
from ....cache.reader import FeatureReader
from ...head_inputs.inputs import CachedFeatures, open_head_data
from ..data_set.features import Features
from ..predictor.predictor import Predictor
from ..predictor.texts import ShownTexts, default_encoder, spec_of_encoder
from ..session.session import Session
from .initial_run import InitialRun
from .live_trainer import LiveTrainer
from .work_queue import WorkQueue

TEST = "test"


class LearnerInputs:
    """Features, texts and labels as they are now; used by the learner's thread, but for `rows_of`.

    Args:
        session: gives classes, labels and texts.
        features: of its images.
        predictor: is notified of new features.
        queue: is notified of labelled images whose features have come.
        initial: a run to begin with; `None`: without.
        device: where heads run.
        offline: whether the network is forbidden to the encoder of new texts.
    """

    def __init__(
        self,
        session: Session,
        features: Features,
        predictor: Predictor,
        queue: WorkQueue,
        *,
        initial: InitialRun | None,
        device: str,
        offline: bool,
    ) -> None:
        self._session, self._features, self._predictor, self._queue = session, features, predictor, queue
        self._initial, self._device, self._offline = initial, device, offline
        self._reader: FeatureReader | None = None
        self._spec: TextSpec | None = None
        self._trainer: LiveTrainer | None = None
        self._images = {entry.id: image for image, entry in enumerate(session.images)}

    @property
    def reads_texts(self) -> bool:
        """Whether texts are shown: a run's head that was trained without them would not know what to do with them."""
        return self._initial is None or self._initial.reads_texts

    def trainer(self) -> LiveTrainer | None:
        """The trainer, with the features, texts and classes as they are now; `None`: no features yet.

        Raises:
            CacheError: if the cache cannot be read, or does not fit the run.
            SourceError: if there are texts, the cache has none, and the installed encoder cannot be loaded.
        """
        if (reader := self._features.reader) is None:
            return None
        spec = self._spec_of_texts(reader)
        if reader is not self._reader or spec != self._spec:
            self._open(reader, spec)
        n_classes = len(self._session.classes)
        if self._trainer and self._trainer.spec.n_classes != n_classes:
            self._trainer.count_classes(n_classes)
            self._queue.learn(self._labelled())
        return self._trainer

    def rows_of(self, image: int) -> tuple[SampleRow, ...]:
        """Rows of an image."""
        return self._features.rows(image)

    def rows_to_learn(self, image: int) -> tuple[SampleRow, ...]:
        """Rows of an image that heads may learn from: none of the test split, which is there to judge them."""
        return () if self._session.images[image].split == TEST else self._features.rows(image)

    def rows(self) -> list[SampleRow]:
        """Rows of all images that heads may learn from."""
        return [row for image in range(len(self._session.images)) for row in self.rows_to_learn(image)]

    def text_of(self, row: SampleRow) -> str:
        """The text that a row is shown with; "": none."""
        return self._session.text(self._images[row.parent]) if self.reads_texts else ""

    def _open(self, reader: FeatureReader, spec: TextSpec | None) -> None:
        data = self._data(reader)
        texts = ShownTexts(data, spec, offline=self._offline)
        if self._trainer and self._trainer.fits(data, texts):
            self._trainer.reopen(data, texts)
        else:
            self._trainer = LiveTrainer(data, texts, self.text_of, len(self._session.classes), self._initial)
        self._reader, self._spec = reader, spec
        self._predictor.open(data, texts)
        self._queue.learn(self._labelled())

    def _data(self, reader: FeatureReader) -> CachedFeatures:
        if self._initial:
            return self._initial.open(reader, self._device)
        return open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device=self._device)

    def _spec_of_texts(self, reader: FeatureReader) -> TextSpec | None:
        """Of the cache's texts; where it has none and somebody wrote one, of the installed encoder."""
        if not self.reads_texts:
            return None
        if reader.manifest.texts or self._initial:
            return reader.manifest.texts
        if self._spec is None and (encoder := default_encoder()) and self._predictor.any_text():
            return spec_of_encoder(encoder, self._device)
        return self._spec

    def _labelled(self) -> Sequence[int]:
        return [image for image in range(len(self._session.images)) if self._session.labels(image).box is not None]
