"""A trained head with its frozen models, for new images: masks, one by one or many, and explanations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TypeVar

from ...errors import DataError
from ..explanation.explain import explain_image
from ..explanation.result import Explanation
from ..prediction.request import GivenImage, PredictionRequest
from ..prediction.result import Prediction
from ..prediction.segmenter import BandSegmenter

Given = TypeVar("Given")


class Segmenter(BandSegmenter):
    """A trained head, ready for new images: `Segmenter.load(run).predict(image, text)`.

    The frozen models are loaded when they are first needed. `mask_values` are the values that the training masks have
    for the classes, background first; `classes` gives their names. `config` is the run's settings, `head` its head.
    """

    def predict_many(
        self,
        images: Iterable[GivenImage],
        texts: Iterable[str | None] | str | None = None,
        *,
        sample_ids: Iterable[str] | None = None,
        tta: int = 1,
    ) -> Iterator[Prediction]:
        """Segment images one after another, as many at once in the frozen models as there were in the extraction.

        Images are read, or taken from the iterable, a batch ahead of the predictions, so that memory does not grow
        with their number.

        Args:
            images: as of `predict`.
            texts: one for each image; one for all; `None`: none.
            sample_ids: as of `predict`, one for each image.
            tta: as of `predict`.

        Returns:
            The predictions, in the images' order. They differ from those of `predict` in last bits at most.

        Raises:
            DataError: when an image cannot be read, a text is empty or too long, or there are not as many texts as
                images.
            SourceError: as `predict`.
            ConfigError: as `predict`.
        """
        of_images = repeat(texts) if texts is None or isinstance(texts, str) else texts
        requests = self._requests(images, of_images, repeat(None) if sample_ids is None else sample_ids)
        return (self.whole(request, bands) for request, bands in self.segment(requests, tta=tta))

    def explain(
        self,
        image: GivenImage,
        text: str,
        *,
        versus: str | None = None,
        target: str | None = None,
        sample_id: str | None = None,
    ) -> Explanation:
        """Measure the effect of each word of a text on an image's segmentation.

        Args:
            image: as of `predict`.
            text: to explain.
            versus: another text for the same image.
            target: name of the class to explain; `None`: all but the background together.
            sample_id: as of `predict`.

        Raises:
            SourceError: as `predict`.
            DataError: if the image or a text cannot be used, or the maps would not fit in memory.
            ConfigError: if the head was trained without texts, or there is no such class.
        """
        asked = self.request(image, text, sample_id)
        return explain_image(self, asked.image, text, versus=versus, target=target, sample_id=asked.sample_id)

    def _requests(
        self, images: Iterable[GivenImage], texts: Iterable[str | None], sample_ids: Iterable[str | None]
    ) -> Iterator[PredictionRequest]:
        """Each image as it is asked for, with what belongs to it."""
        with_texts = zip(_known(texts, "texts"), _known(sample_ids, "sample_ids"), strict=False)
        for image, (text, sample_id) in zip(images, with_texts, strict=False):
            yield self.request(image, text, sample_id)


def _known(values: Iterable[Given], name: str) -> Iterator[Given]:
    """The values; asked for more, an error."""
    n = 0
    for value in values:
        yield value
        n += 1
    raise DataError(f"{name} got {n} values, and there are more images; give one for each image")
