"""A trained head together with the frozen models that it needs: an image and a text in, a mask out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt, UInt8
from torch import Tensor

from ..errors import ConfigError, DataError, SourceError
from ..stages.head import PixelHead
from ..stages.text import TextEncoder, load_text_encoder
from ..stages.unet import UNetRecorder, load_unet
from .classes import Classes
from .device import resolve_device
from .evaluate import native_probabilities
from .images import read_image, resize_image
from .runs import RunConfig, load_head
from .stage_one import StageOne


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image, at its own size."""

    mask: UInt[np.ndarray, "y x"]
    """The values of the training masks: {0, 255} or {0, 1} as they were, or class ids; uint8, or uint16 beyond 255."""
    probabilities: Float32[np.ndarray, "n_classes y x"]
    """Of the classes, background first; they add up to 1."""


class Segmenter:
    """A trained head, ready for new images: `Segmenter.load(run).predict(image, text)`.

    The frozen models are loaded when they are first needed.
    """

    def __init__(self, config: RunConfig, head: PixelHead, device: str, unet: str, text_encoder: str | None) -> None:
        self._config, self._head, self._device = config, head, device
        self._unet, self._text_encoder = unet, text_encoder
        self.classes = Classes.from_dict(config.classes)

    @classmethod
    def load(
        cls, run: Path | str, *, unet: str | None = None, text_encoder: str | None = None, device: str = "auto"
    ) -> Segmenter:
        """Load a finished run.

        Args:
            run: the run's folder.
            unet: where the same UNet is to be found, if not where the run says; checked by its digest.
            text_encoder: where the same text encoder is to be found, likewise.
            device: `auto`, `cpu`, `cuda`, ...

        Raises:
            RunError: if the run is absent, unfinished or damaged.
        """
        config = RunConfig.read(Path(run))
        device = resolve_device(device)
        encoder = text_encoder or (config.texts.encoder if config.texts else None)
        return cls(config, load_head(Path(run), config, device), device, unet or config.features.unet, encoder)

    def predict(
        self, image: UInt8[np.ndarray, "y x 3"] | Path | str, text: str | None = None, *, sample_id: str = ""
    ) -> Prediction:
        """Segment one image.

        Args:
            image: RGB pixels, or the path of an image file.
            text: what the head is to go by; `None`: nothing.
            sample_id: names the noise, where the head was trained with one noise for each sample.

        Raises:
            SourceError: if the UNet or the text encoder cannot be loaded, or are not those of the training.
            DataError: if the image cannot be read, or the text is empty or too long.
            ConfigError: if a text is given to a head that was trained without any.
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(Path(image), self._config.features.window)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise DataError(f"image is {pixels.dtype} {pixels.shape}; expected uint8 (y, x, 3), RGB")
        tokens, mask = self._tokens(text)
        size = (self._config.features.image_size,) * 2
        logits = self._head.segment(self._maps(pixels, sample_id), size, tokens, mask)
        probabilities = native_probabilities(logits, (pixels.shape[0], pixels.shape[1])).cpu().numpy()
        values = np.array(self.classes.ids, np.uint8 if max(self.classes.ids) < 256 else np.uint16)
        return Prediction(values[probabilities.argmax(0)], probabilities)

    def _maps(self, pixels: UInt8[np.ndarray, "y x 3"], sample_id: str) -> dict[int, list[Tensor]]:
        size = self._config.features.image_size
        resized = resize_image(pixels, (size, size))[None]
        blocks, timesteps = self._config.blocks, self._config.timesteps
        features = self._stage_one.features(resized, [sample_id], timesteps, blocks)
        return {
            block: [torch.from_numpy(features[block, timestep][0]).to(self._device) for timestep in timesteps]
            for block in blocks
        }

    def _tokens(self, text: str | None) -> tuple[Float[Tensor, "token dim"], Bool[Tensor, "token"]]:
        if text is None:
            nothing = torch.zeros(1, self._config.head.text_dim, device=self._device)
            return nothing, torch.zeros(1, dtype=torch.bool, device=self._device)
        if self._config.texts is None or self._config.train["text"] == "none":
            raise ConfigError("a text was given, but the head was trained without texts; leave it out")
        encoded = self._encoder.encode([text], truncate=self._config.texts.truncated)
        # The cache holds tokens in float16; the head sees the same numbers here.
        return encoded.tokens[0].half().float().to(self._device), encoded.mask[0].to(self._device)

    @cached_property
    def _stage_one(self) -> StageOne:
        spec = self._config.features
        frozen = load_unet(self._unet, self._device)
        if frozen.digest != spec.unet_digest:
            raise SourceError(_not_the_same("UNet", self._unet, frozen.digest, spec.unet_digest, "--unet"))
        return StageOne(frozen, UNetRecorder(frozen, self._config.blocks), spec, self._device)

    @cached_property
    def _encoder(self) -> TextEncoder:
        texts, source = self._config.texts, self._text_encoder
        if texts is None or source is None:
            raise AssertionError("asked for the text encoder of a head that was trained without texts")
        encoder = load_text_encoder(source, self._device)
        if encoder.digest != texts.encoder_digest:
            wanted = texts.encoder_digest
            raise SourceError(_not_the_same("text encoder", source, encoder.digest, wanted, "--text-encoder"))
        return encoder


def _not_the_same(what: str, source: str, got: str, expected: str, flag: str) -> str:
    return (
        f"{source}: not the {what} that the head was trained with (digest {got[:12]}, expected {expected[:12]}); "
        f"give its place with {flag}"
    )
