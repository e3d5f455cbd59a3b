"""Trains one head, an epoch at a time, from sampled pixels; it can stop and go on between any two epochs."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..cache.table import SampleRow
from ..errors import ConfigError
from ..stages.head import PixelHead
from ..stages.metrics import confusion, dice
from ..stages.objective import segmentation_loss
from ..stages.pixels import gather, sample_pixels
from ..stages.seeds import named_generator, named_seed
from .head_config import TrainConfig
from .head_data import HeadData
from .scoring import counts_by_parent

MIN_STEPS_PER_EPOCH = 8
N_FINALISTS = 2
PIXELS_PER_CHECK = 512
MAX_CHECKED_IMAGES = 64
PIXELS_FOR_STATISTICS = 65_536


@dataclass(frozen=True)
class PixelBatch:
    """Sampled pixels of a few images."""

    features: dict[int, Float[Tensor, "image pixel channel"]]
    pixels: Int[Tensor, "image pixel"]
    labels: Int[Tensor, "image pixel"]


@dataclass(frozen=True)
class Finalist:
    """A head that did well on sampled pixels."""

    epoch: int
    sampled_dice: float
    weights: dict[str, Tensor]


class Fit:
    """The state of a head's training.

    Everything random in an epoch comes from generators named by the seed and the epoch, so that the state after an
    epoch depends on the state before it and on nothing else.

    Args:
        data: the cache as the head sees it.
        train: labelled samples to learn from.
        val: labelled samples to choose the epoch by.
        config: settings.
    """

    def __init__(
        self, data: HeadData, train: Sequence[SampleRow], val: Sequence[SampleRow], config: TrainConfig
    ) -> None:
        self._data, self._train, self._val, self._config = data, list(train), list(val), config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(config.seed, "weights"))
            self.head = PixelHead(data.head_spec(config.width, config.n_heads)).to(data.device)
        self._standardise()
        self.optimizer = torch.optim.AdamW(
            self.head.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._checked = self._samples_to_check()
        self.history: list[dict[str, float]] = []
        self.finalists: list[Finalist] = []

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch and check the head on fixed sampled pixels."""
        epoch = self.epoch
        generator = named_generator(self._config.seed, "epoch", epoch)
        steps = self._order(generator)
        losses = [self._step(samples, epoch + i / len(steps), generator) for i, samples in enumerate(steps)]
        if not all(map(math.isfinite, losses)):
            raise ConfigError(f"the loss is not finite in epoch {epoch + 1}: lower --learning-rate or --weight-decay")
        sampled_dice = self._sampled_dice()
        row = {"epoch": epoch + 1, "loss": sum(losses) / len(losses), "val_dice_sampled": sampled_dice}
        self.history.append(row)
        self._keep_if_good(Finalist(epoch + 1, sampled_dice, copy.deepcopy(self.head.state_dict())))
        return row

    def finish(self) -> tuple[Finalist, Float[Tensor, "sample class"]]:
        """Choose among the finalists by their Dice on whole validation images, and load the best into `head`.

        Returns:
            The winner, and its Dice for each validation sample and class.
        """
        scored = []
        for finalist in self.finalists:
            self.head.load_state_dict(finalist.weights)
            counts = score_samples(self.head, self._data, self._val)
            scored.append(dice(counts_by_parent(counts, self._val)))
        best = max(range(len(scored)), key=lambda place: float(scored[place].mean()))
        self.head.load_state_dict(self.finalists[best].weights)
        return self.finalists[best], scored[best]

    def _standardise(self) -> None:
        samples = self._train[:MAX_CHECKED_IMAGES]
        for block in self._data.blocks:  # one at a time, since all of them take a gigabyte
            generator = named_generator(self._config.seed, "statistics")
            data = replace(self._data, blocks=(block,))
            batch = sample_batch(data, samples, PIXELS_FOR_STATISTICS // len(samples), generator)
            self.head.standardise(block, batch.features[block].flatten(0, 1))

    def _order(self, generator: torch.Generator) -> list[list[SampleRow]]:
        """The images of each step: all of them, several times where they are few."""
        per_step, n_train = self._config.images_per_step, len(self._train)
        passes = max(1, math.ceil(MIN_STEPS_PER_EPOCH * per_step / n_train))
        order = torch.cat([torch.randperm(n_train, generator=generator) for _ in range(passes)])
        return [[self._train[place] for place in chunk.tolist()] for chunk in order.split(per_step)]

    def _step(self, samples: list[SampleRow], progress: float, generator: torch.Generator) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._config.learning_rate * schedule(progress / self._config.epochs)
        batch = sample_batch(self._data, samples, self._config.pixels_per_image, generator)
        tokens, mask = self._data.texts(samples)
        shown = torch.rand(len(samples), generator=generator) >= self._config.text_dropout
        logits = self.head(batch.features, batch.pixels, self._data.size, tokens, mask & shown.to(mask.device)[:, None])
        loss = segmentation_loss(logits.flatten(0, 1), batch.labels.flatten(), self._data.ignore)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _samples_to_check(self) -> list[SampleRow]:
        order = torch.randperm(len(self._val), generator=named_generator(self._config.seed, "checked images"))
        return [self._val[place] for place in order[:MAX_CHECKED_IMAGES].tolist()]

    @torch.no_grad()
    def _sampled_dice(self) -> float:
        """Dice over the same sampled pixels of the validation images after every epoch."""
        generator = named_generator(self._config.seed, "checked pixels")
        counts = torch.zeros(self._data.n_classes, self._data.n_classes, dtype=torch.long)
        for sample in self._checked:
            batch = sample_batch(self._data, [sample], PIXELS_PER_CHECK, generator)
            logits = self.head(batch.features, batch.pixels, self._data.size, *self._data.texts([sample]))
            counts += confusion(logits.argmax(-1).cpu(), batch.labels.cpu(), self._data.n_classes, self._data.ignore)
        return float(dice(counts).mean())

    def _keep_if_good(self, candidate: Finalist) -> None:
        ranked = sorted([*self.finalists, candidate], key=lambda finalist: (-finalist.sampled_dice, finalist.epoch))
        self.finalists = ranked[:N_FINALISTS]


def schedule(progress: float) -> float:
    """Share of the peak learning rate: up along a line over the first twentieth, then down along a cosine to 0.

    Args:
        progress: share of the training that is done, in [0, 1].
    """
    warm_up = 0.05
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def sample_batch(data: HeadData, samples: Sequence[SampleRow], n_pixels: int, generator: torch.Generator) -> PixelBatch:
    """Draw labelled pixels of each sample and gather their activations and labels."""
    features: dict[int, list[Tensor]] = {block: [] for block in data.blocks}
    pixels, labels = [], []
    for sample in samples:
        truth = data.labels(sample)
        drawn = sample_pixels(truth.cpu(), n_pixels, data.ignore, generator).to(data.device)
        for block, gathered in gather(data.maps(sample), drawn, data.size).items():
            features[block].append(gathered)
        pixels.append(drawn)
        labels.append(truth.reshape(-1)[drawn])
    stacked = {block: torch.stack(gathered) for block, gathered in features.items()}
    return PixelBatch(stacked, torch.stack(pixels), torch.stack(labels))


def score_samples(
    head: PixelHead, data: HeadData, samples: Sequence[SampleRow]
) -> Int[Tensor, "sample label predicted"]:
    """Confusion counts of whole images at the model's size."""
    counts = []
    for sample in samples:
        tokens, mask = data.texts([sample])
        predicted = head.segment(data.maps(sample), data.size, tokens[0], mask[0]).argmax(0)
        counts.append(confusion(predicted.cpu(), data.labels(sample).cpu(), data.n_classes, data.ignore))
    return torch.stack(counts)
