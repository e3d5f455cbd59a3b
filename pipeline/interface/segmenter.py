"""A trained head with its frozen models, for new images: masks, one by one or many, and explanations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import repeat
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from jaxtyping import UInt
from PIL.Image import Image as PillowImage

from ...errors import DataError
from ...stages.heads.base import Head
from ...stages.metrics.uncertainty import UncertaintyKind
from ..config.prediction import ModelOverrides
from ..config.values import read_config
from ..explanation.explain import explain_image
from ..explanation.result import Explanation
from ..prediction.request import GivenImage, PredictionRequest
from ..prediction.result import Prediction
from ..prediction.segmenter import BandSegmenter
from ..runs.run_config import RunConfig

Given = TypeVar("Given")
_END = object()


class Segmenter:
    """A trained head, ready for new images: `Segmenter.load(run).predict(image, text)`.

    The frozen models are loaded when they are first needed.
    """

    def __init__(self, by_bands: BandSegmenter) -> None:
        self._by_bands = by_bands

    @classmethod
    def load(
        cls,
        run: os.PathLike[str] | str,
        *,
        unet: str | None = None,
        unet_config: os.PathLike[str] | str | None = None,
        encoder: Sequence[str] | str = (),
        text_encoder: str | None = None,
        device: str = "auto",
        offline: bool = False,
    ) -> Self:
        """Load a finished run.

        Args:
            run: a run, or its folder.
            unet: the run's UNet at another place than the run says; checked by its digest.
            unet_config: JSON with guided-diffusion's flags, if that UNet is a checkpoint that needs them.
            encoder: the run's image encoders at other places, likewise.
            text_encoder: the run's text encoder at another place, likewise.
            device: `auto`, `cpu`, `cuda`, ...
            offline: load the frozen models from this machine alone, not from the hub.

        Raises:
            RunError: if the run is absent, unfinished or damaged.
            ConfigError: if a setting is of another type, or this machine has no such device.
        """
        settings = {
            "unet": unet,
            "unet_config": unet_config,
            "encoder": encoder,
            "text_encoder": text_encoder,
            "device": device,
            "offline": offline,
        }
        return cls(BandSegmenter.load(Path(run), read_config(ModelOverrides, settings)))

    @property
    def config(self) -> RunConfig:
        """Settings of the run."""
        return self._by_bands.config

    @property
    def head(self) -> Head:
        """The trained head."""
        return self._by_bands.head

    @property
    def device(self) -> str:
        """The device that computes."""
        return self._by_bands.device

    @property
    def classes(self) -> Mapping[int, str]:
        """Value in masks → name of the class, background first."""
        return self._by_bands.classes

    @property
    def mask_values(self) -> UInt[np.ndarray, " class"]:
        """Values of the classes in masks, background first: as in the training masks, or labels for colours."""
        return self._by_bands.mask_values

    @property
    def uncertainty_is(self) -> UncertaintyKind:
        """Measure of uncertainty: `mutual_information` of an ensemble, `predictive_entropy` of a single head."""
        return self._by_bands.uncertainty_is

    def predict(
        self, image: GivenImage, text: str | None = None, *, sample_id: str | None = None, tta: int = 1
    ) -> Prediction:
        """Segment one image.

        Args:
            image: RGB [y, x, 3] or grey [y, x] pixels, as an array or a Pillow image, or the path of an image file.
                Pixels are read as those of files: values of more than 8 bits go through the run's intensity window,
                transparent parts are blended over white.
            text: what the head is to go by; `None`: nothing.
            sample_id: names the noise, where the head was trained with one noise for each sample; `None`: the file's
                name without its suffix, and "" for pixels.
            tta: probabilities are the mean over this many flips and rotations of the image, or of each of its tiles (1,
                2, 4 or 8), with the text rewritten for each; those for which it cannot be rewritten are left out.

        Raises:
            SourceError: if a frozen model cannot be loaded, or is not that of the training.
            DataError: if the image cannot be read, or the text is empty, too long or no text.
            ConfigError: if a text is given to a head that was trained without any, or `tta` is no number of views.
        """
        return self._by_bands.predict(self._by_bands.request(image, text, sample_id), tta)

    def predict_many(
        self,
        images: Iterable[GivenImage],
        texts: Iterable[str | None] | str | None = None,
        *,
        sample_ids: Iterable[str | None] | str | None = None,
        tta: int = 1,
    ) -> Iterator[Prediction]:
        """Segment images one after another, as many at once in the frozen models as there were in the extraction.

        Images are read, or taken from the iterable, a batch ahead of the predictions, so that memory does not grow
        with their number.

        Args:
            images: each as of `predict`.
            texts: one for each image; one for all; `None`: none.
            sample_ids: as of `predict`, likewise.
            tta: as of `predict`.

        Returns:
            The predictions, in the images' order. They differ from those of `predict` in last bits at most.

        Raises:
            DataError: when `images` is a single one, an image cannot be read, a text is empty or too long, or there are
                not as many texts or ids as images. Of iterators the number is known after the last image alone.
            SourceError: as `predict`.
            ConfigError: as `predict`.
        """
        _refuse_single(images)
        _refuse_other_lengths(images, texts=texts, sample_ids=sample_ids)
        segmented = self._by_bands.segment(self._requests(images, texts=texts, sample_ids=sample_ids), tta=tta)
        return (self._by_bands.whole(request, bands) for request, bands in segmented)

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
        asked = self._by_bands.request(image, text, sample_id)
        return explain_image(self._by_bands, asked.image, text, versus=versus, target=target, sample_id=asked.sample_id)

    def _requests(
        self, images: Iterable[GivenImage], **given: Iterable[str | None] | str | None
    ) -> Iterator[PredictionRequest]:
        """Each image as it is asked for, with its text and its id."""
        several = {name: iter(values) for name, values in given.items() if not isinstance(values, str | None)}
        columns = (_known(several[name], name) if name in several else repeat(one) for name, one in given.items())
        for image, text, sample_id in zip(images, *columns, strict=False):
            yield self._by_bands.request(image, text, sample_id)
        for name, values in several.items():
            if next(values, _END) is not _END:
                raise DataError(f"{name} got more values than there are images; give one for each image")


def _known(values: Iterator[Given], name: str) -> Iterator[Given]:
    """The values; asked for more, an error."""
    n = 0
    for value in values:
        yield value
        n += 1
    raise DataError(f"{name} got {n} values, and there are more images; give one for each image")


def _refuse_single(images: Iterable[GivenImage]) -> None:
    """Refuse one image in place of several: it would be taken for its characters, or for its rows."""
    is_pixels = isinstance(images, PillowImage) or (isinstance(images, np.ndarray) and images.ndim in (2, 3))
    if is_pixels or isinstance(images, os.PathLike | str):
        raise DataError(f"images is a single one ({type(images).__name__}); give a list of images, or call predict")


def _refuse_other_lengths(images: Iterable[GivenImage], **given: Iterable[str | None] | str | None) -> None:
    """Refuse lists whose lengths differ, before anything is computed."""
    n_images = _length(images)
    for name, values in given.items():
        n = _length(values)
        if None not in (n, n_images) and n != n_images:
            raise DataError(f"{name} got {n} values for {n_images} images; give one for each image")


def _length(values: object) -> int | None:
    """Number of values; `None`: it is not known before the last, or one value is for all."""
    return len(values) if isinstance(values, Sized) and not isinstance(values, str) else None
