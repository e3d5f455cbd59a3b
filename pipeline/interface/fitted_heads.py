"""A head that was trained on samples of a cache, or on rows of numbers: what `HeadClassifier` holds after `fit`.

Both are trained by the `Trainer` of `train-head`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...errors import ConfigError, DataError
from ...stages.heads.base import Head
from ...stages.heads.pixel import PixelHead
from ..config.training import TrainConfig
from ..data.classes import Classes
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.scoring import dice_of_samples, segment_samples
from ..head_inputs.splits import Split, has_labels, hold_out, originals
from ..head_inputs.stratification import strata_of
from ..training.trainer import Trainer
from .pixel_matrix import ONLY, PixelReader

PIXELS_AT_ONCE = 65_536
EPOCHS_OF_PIXELS = 5
"""Default for rows of numbers, which are the same in every epoch: on 12,000 pixels of MoNuSeg (5 folds by slide) F1 is
0.754 after 2 epochs, 0.760 after 5 and 0.689 after 40, that of logistic regression 0.749."""

ALL_COLUMNS: Mapping[str, Any] = {"timesteps": None, "blocks": None, "sources": None, "text": "none", "position": False}
"""Settings for rows of numbers, whatever is given for samples."""


@dataclass(frozen=True, eq=False)
class HeadOfSamples:
    """A head of a cache's samples."""

    head: Head
    data: CachedFeatures
    history: list[dict[str, float]]
    best_epoch: int
    val_dice: float
    """On the samples that chose the epoch, which flatters."""

    @classmethod
    def fit(cls, reader: FeatureReader, rows: Sequence[SampleRow], config: TrainConfig) -> Self:
        """Train on the labelled ones of these rows, with their cached views; some groups of them choose the epoch.

        Args:
            reader: the open cache.
            rows: of it, as they are (view 0).
            config: settings; neither `cache` nor `run` is looked at.

        Raises:
            DataError: if fewer than two groups are labelled.
        """
        wanted = {(row.parent, row.tile) for row in rows if has_labels(reader, row)}
        train = tuple(row for row in reader.samples if (row.parent, row.tile) in wanted)
        strata = strata_of(reader, originals(train)) if train else {}
        if len(strata) < 2:
            raise DataError(
                f"{len(rows)} samples with {len(strata)} labelled groups; expected two groups at least, one to train "
                "on and one to choose the epoch by: give more samples, or label more"
            )
        trainer = Trainer.from_config(config, reader, hold_out(train, strata, config))
        trainer.run()
        best, val_dice = trainer.finish()
        data = replace(trainer.data, kept={})
        return cls(trainer.head, data, trainer.history, best.epoch, float(val_dice.mean()))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background first."""
        return Classes.from_dict(self.data.reader.manifest.classes).names

    def probabilities(self, rows: Sequence[SampleRow]) -> Iterator[Float32[np.ndarray, "n_classes y x"]]:
        """Of each row at the model's size; of an ensemble the mean over its members."""
        for _, members, _ in segment_samples(self.head, self.data, rows):
            yield members.mean(0).numpy()

    def dice(self, rows: Sequence[SampleRow]) -> float:
        """Mean over the labelled samples and the foreground classes, as `evaluate` gives it at the model's size.

        Raises:
            DataError: if no row is labelled.
        """
        labelled = [row for row in rows if has_labels(self.data.reader, row)]
        if not labelled:
            raise DataError(f"none of {len(rows)} samples is labelled; there is nothing to score")
        return float(dice_of_samples(self.head, self.data, labelled).mean())


@dataclass(frozen=True, eq=False)
class HeadOfPixels:
    """A pixel head of rows of numbers."""

    head: Head
    history: list[dict[str, float]]

    @classmethod
    def fit(
        cls,
        pixels: Float32[np.ndarray, "pixel channel"],
        labels: UInt8[np.ndarray, "pixel"],
        n_classes: int,
        config: TrainConfig,
    ) -> Self:
        """Train on all pixels; the head is that of the last epoch.

        Args:
            pixels: rows of finite numbers.
            labels: class indices, 0 the background.
            n_classes: of the labels.
            config: settings; neither `cache`, `run` nor `ALL_COLUMNS` is looked at.

        Raises:
            ConfigError: if the head is none that looks at single pixels.
        """
        if config.head != "pixel":
            raise ConfigError(
                f"head got {config.head!r}, and rows of numbers have no neighbours: give head='pixel', or samples of a "
                "cache for X"
            )
        reader = PixelReader(pixels, labels, max(2, n_classes))
        split = Split(reader.samples, reader.samples, val_is="the pixels that are trained on")
        config = replace(config, epochs=config.epochs or EPOCHS_OF_PIXELS, **ALL_COLUMNS)
        trainer = Trainer.from_config(config, reader, split)
        trainer.run()
        return cls(trainer.head, trainer.history)

    @torch.no_grad()
    def probabilities(
        self, pixels: Float32[np.ndarray, "pixel channel"], n_classes: int
    ) -> Float32[np.ndarray, "pixel class"]:
        """Of each row; of an ensemble the mean over its members."""
        return np.concatenate([
            self._of_some(torch.tensor(pixels[start : start + PIXELS_AT_ONCE]), n_classes)
            for start in range(0, len(pixels), PIXELS_AT_ONCE)
        ])  # fmt: skip

    def _of_some(self, pixels: Float32[Tensor, "pixel channel"], n_classes: int) -> np.ndarray:
        members = [cast("PixelHead", member) for member in self.head.members]
        device = next(self.head.parameters()).device
        inputs = members[0].inputs({ONLY: pixels[None].to(device)})
        nowhere: Int[Tensor, "1 pixel"] = torch.zeros(inputs.shape[:2], dtype=torch.long, device=device)
        no_text = torch.zeros(1, 1, 1, device=device), torch.zeros(1, 1, dtype=torch.bool, device=device)
        with self.head.arithmetic(device):
            logits = [member(inputs, nowhere, (1, 1), *no_text)[0, :, :n_classes] for member in members]
        return torch.stack(logits).float().softmax(-1).mean(0).cpu().numpy()
