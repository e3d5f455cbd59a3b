"""A trained head together with the frozen models that it needs: an image and a text in, a mask out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import tee
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from jaxtyping import Float, UInt
from torch import Tensor

from ...errors import DataError
from ...stages.heads.base import Head
from ...stages.heads.input import HeadInput
from ...stages.metrics.uncertainty import UncertaintyKind, kind_of_uncertainty, mean_and_uncertainty
from ..config.prediction import ModelOverrides, PredictConfig
from ..config.validation import ViewCount, problems_of, refuse
from ..config.values import read_values
from ..data.classes import Classes
from ..extraction.feature_extractor import FeatureExtractor
from ..extraction.loading import restore_stage_one
from ..head_inputs.source import segment_tiles
from ..image_files.paths import stem_of
from ..image_files.raster import WindowNeededError
from ..image_files.reading import open_image
from ..image_files.source import ImageReader
from ..images.blending import whole_image
from ..images.stain import in_colours, open_source
from ..runs.heads import load_head
from ..runs.projections import load_projections
from ..runs.run_config import RunConfig
from ..runtime.device import resolve_device
from ..views.text_rewriting import safe_views
from .live_features import LiveFeatures
from .live_texts import LiveTexts
from .request import GivenImage, Pixels, PredictionRequest
from .result import Prediction

_ROWS_AT_ONCE = 128
"""Of a band that is as high as a tile: what follows takes some 30 bytes a pixel."""


class Segment(NamedTuple):
    """A band of rows of an image, over its whole width."""

    top: int
    """The first row."""
    probabilities: Float[Tensor, "n_classes y x"]
    """As of `Prediction`."""
    uncertainty: Float[Tensor, "y x"]
    """As of `Prediction`."""


class BandSegmenter:
    """A trained head, ready for new images, which it segments by bands.

    The frozen models are loaded when they are first needed. `mask_values` are the values that the training masks have
    for the classes, background first: {0, 255} or {0, 1} as they were, or class ids (labels, where they are colours);
    `classes` gives their names.
    `config`, `head` and `live` are the run's settings, its head and its stage one.
    """

    def __init__(
        self,
        config: RunConfig,
        head: Head,
        load_stage_one: Callable[[], FeatureExtractor],
        text_encoder: str | None,
        device: str,
        *,
        offline: bool = False,
    ) -> None:
        self.config, self.head = config, head
        self.texts = LiveTexts.of_run(config, text_encoder, device, offline=offline)
        self.live = LiveFeatures(config, load_stage_one, self.texts, device)
        self.device = device
        classes = Classes.from_dict(config.classes)
        ids = classes.mask_values
        self.classes = dict(zip(ids, classes.names, strict=True))
        self.mask_values: UInt[np.ndarray, "class"] = np.array(ids, np.uint8 if max(ids) < 256 else np.uint16)

    @classmethod
    def load(cls, run: Path, overrides: ModelOverrides) -> Self:
        """Load a finished run.

        Args:
            run: the run's folder.
            overrides: where its frozen models are, and where they run.

        Raises:
            RunError: if the run is absent, unfinished or damaged.
            ConfigError: if this machine has no such device.
        """
        config, device = RunConfig.read(run), resolve_device(overrides.device)
        head, projections = load_head(run, config, device), load_projections(run, config, device)
        load_stage_one = partial(
            restore_stage_one,
            config.features,
            config.encoders,
            config.blocks_and_layers,
            projections,
            device,
            unet=overrides.unet,
            unet_config=overrides.unet_config,
            encoder=overrides.encoder,
            offline=overrides.offline,
        )
        return cls(config, head, load_stage_one, overrides.text_encoder, device, offline=overrides.offline)

    def predict(self, request: PredictionRequest, tta: int = 1) -> Prediction:
        """Segment one image; arguments and errors as of `segment`."""
        return self.whole(*next(self.segment([request], tta=tta)))

    def request(self, image: GivenImage, text: str | None = None, sample_id: str | None = None) -> PredictionRequest:
        """An image to segment, read as the head's training images were.

        Args:
            image: pixels, or the path of an image file.
            text: for the head; `None`: none.
            sample_id: names the noise; `None`: the file's name without its suffix, and "" for pixels.

        Raises:
            DataError: if the image cannot be read, or the text or the name is no text.
        """
        for name, given in (("text", text), ("sample_id", sample_id)):
            if not isinstance(given, str | None):
                raise DataError(f"{name} is {given!r}; expected text, or None where there is none")
        if not isinstance(image, os.PathLike | str):
            return PredictionRequest(self._in_memory(image), text, sample_id or "")
        path = Path(image)
        return PredictionRequest(self.open(path), text, stem_of(path) if sample_id is None else sample_id)

    def whole(self, request: PredictionRequest, bands: Iterable[Segment]) -> Prediction:
        """The prediction that all bands of a request are."""
        _, of_probabilities, of_uncertainty = zip(*bands, strict=True)
        probabilities = torch.cat(of_probabilities, 1).cpu().numpy()
        uncertainty = torch.cat(of_uncertainty).cpu().numpy()
        mask = self.mask_values[probabilities.argmax(0)]
        return Prediction(mask, probabilities, uncertainty, self.classes, request)

    @property
    def uncertainty_is(self) -> UncertaintyKind:
        """Measure of uncertainty: `mutual_information` of an ensemble, `predictive_entropy` of a single head."""
        return kind_of_uncertainty(len(self.head.members))

    def segment(
        self, requests: Iterable[PredictionRequest], *, tta: int = 1
    ) -> Iterator[tuple[PredictionRequest, Iterator[Segment]]]:
        """Segment images as large as they may be, and as many, a band of rows at a time.

        Images or tiles go through the models as many at once as they did in the extraction, across the borders of
        requests: how they fall together changes last bits. Take all the bands of a request before the next request.

        Args:
            requests: taken one by one, a little ahead of the results.
            tta: probabilities are the mean over this many flips and rotations of each image or tile (1, 2, 4 or 8),
                with the text rewritten for each; those for which it cannot be rewritten are left out.

        Raises:
            SourceError: if a frozen model cannot be loaded, or is not that of the training.
            DataError: if an image cannot be read, or a text is empty or too long.
            ConfigError: if a text is given to a head that was trained without any, or `tta` is no number of views.
        """
        refuse(*problems_of("tta", read_values(PredictConfig, {"tta": tta})["tta"], ViewCount))
        ahead, current = _in_turn(*tee(requests))
        inputs = self.live.inputs(row for request in ahead for row in self.live.rows(request, tta))
        return ((request, self._bands(inputs, request, tta)) for request in current)

    def _bands(self, inputs: Iterator[HeadInput], request: PredictionRequest, tta: int) -> Iterator[Segment]:
        """Bands of the request whose rows come next among the inputs."""
        size, offsets, views = request.image.size, self.live.offsets(request.image.size), safe_views(request.text, tta)
        logits = segment_tiles(self.head, inputs, [views] * len(offsets))
        for top, members in whole_image(logits, size, self.live.tile, offsets):
            for start in range(0, members.shape[2], _ROWS_AT_ONCE):
                part = members[:, :, start : start + _ROWS_AT_ONCE]
                yield Segment(top + start, *mean_and_uncertainty(part))

    def open(self, path: Path) -> ImageReader:
        """An image file as the head's training images were read.

        Raises:
            DataError: if it cannot be read.
        """
        with self._named_window(str(path)):
            return open_source(path, self.config.features.window, self.config.features.colours)

    def _in_memory(self, image: object) -> ImageReader:
        with self._named_window("image"):
            pixels = Pixels.of(image, self.config.features.window)
        return in_colours(pixels, self.config.features.colours)

    def size_of(self, path: Path) -> tuple[int, int]:
        """Height and width of an image file, after a look at whether it can be read.

        Raises:
            DataError: if it cannot.
        """
        with self._named_window(str(path)):
            image = open_image(path, self.config.features.window)
            image.read(0, 0, 1, 1)  # of a TIFF, what its values are shows only when some are read
            return image.size

    def beside_window(self, path: Path) -> str | None:
        """A warning about an image whose values the run's intensity window leaves as they are; `None`: it does not."""
        if self.config.features.window is None:
            return None
        low, high = self.config.features.window
        try:
            open_image(path).read(0, 0, 1, 1)
        except DataError:
            return None
        return (
            "its values have 8 bits and are taken as they are; the run was trained on values of more bits, through the "
            f"window {low},{high}: give the original image, unless it was exported with that "
            "window"
        )

    @contextmanager
    def _named_window(self, name: str) -> Iterator[None]:
        """Say of an image that needs an intensity window that the run has none: no flag of `predict` gives one."""
        try:
            yield
        except DataError as error:
            if not isinstance(error.__cause__, WindowNeededError):
                raise
            raise DataError(
                f"{name} {error.__cause__.values}, and the run was trained on plain values of 8 bits, without an "
                "intensity window: export this image as they were exported, or extract features of images like this "
                f"one (extract-features --window LOW,HIGH) and train on them{error.__cause__.suggested}"
            ) from error


def _in_turn(*iterators: Iterator[PredictionRequest]) -> list[Iterator[PredictionRequest]]:
    """Iterators of `tee` for several threads: beside a GPU, images are read in one of their own."""
    lock, end = threading.Lock(), object()

    def taken(iterator: Iterator[PredictionRequest]) -> Iterator[PredictionRequest]:
        while True:
            with lock:
                item = next(iterator, end)
            if item is end:
                return
            yield cast("PredictionRequest", item)

    return [taken(iterator) for iterator in iterators]
