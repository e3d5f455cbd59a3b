"""Trains one head, an epoch at a time; it can stop and go on between any two epochs.

`Fit` is the loop that all kinds of head share. What a kind does its own way stands in its `Learner`: how a step's loss
comes about, how the head is checked after an epoch, and the shape of the steps.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..cache.table import SampleRow
from ..errors import ConfigError
from ..stages.head import Head, PixelHead
from ..stages.metrics import confusion, dice
from ..stages.objective import segmentation_loss
from ..stages.paper_head import PaperHead, stack_maps
from ..stages.seeds import named_generator, named_seed
from .head_config import HeadKind, TrainConfig
from .head_data import HeadData, sample_batch, sample_everywhere
from .scoring import counts_by_parent

N_FINALISTS = 2
PIXELS_PER_CHECK = 512
MAX_CHECKED_IMAGES = 64
PIXELS_FOR_STATISTICS = 65_536

AnyHead = TypeVar("AnyHead", bound=Head)


class Learner(ABC, Generic[AnyHead]):
    """A head, and how heads of its kind learn.

    Args:
        data: the cache as the head sees it.
        train: labelled samples to learn from.
        val: labelled samples to choose the epoch by.
        config: settings.
    """

    head_class: type[AnyHead]
    check_name: ClassVar[str]
    """The name in `metrics.jsonl` of what `check` gives."""
    min_steps: ClassVar[int] = 1
    """Steps of an epoch at least: where images are few, an epoch passes over them several times."""
    max_gradient_norm: ClassVar[float] = math.inf
    """Longer gradients are shortened to this."""

    def __init__(
        self, data: HeadData, train: Sequence[SampleRow], val: Sequence[SampleRow], config: TrainConfig
    ) -> None:
        self._data, self._config, self._settings = data, config, config.settings
        self._mean_weight = sum(sample.weight for sample in train) / len(train)
        order = torch.randperm(len(val), generator=named_generator(config.seed, "checked images"))
        self._checked = [val[place] for place in order[:MAX_CHECKED_IMAGES].tolist()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(config.seed, "weights"))
            self.head = self.head_class(data.head_spec(self._settings.width, config.n_heads)).to(data.device).eval()
        self._prepare(train)

    def rate(self, progress: float) -> float:
        """Share of the learning rate at a share of the training that is done, in [0, 1]: constant."""
        del progress
        return 1.0

    @abstractmethod
    def loss(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Float[Tensor, ""]:
        """The loss of a step on some samples."""

    @abstractmethod
    def check(self) -> float:
        """Dice on the validation images, or on part of them: what ranks epochs."""

    def _prepare(self, train: Sequence[SampleRow]) -> None:
        """Set what of the head is not trained; nothing by default."""

    def _weighted_loss(
        self,
        samples: Sequence[SampleRow],
        logits: Float[Tensor, "image pixel n_classes"],
        labels: Int[Tensor, "image pixel"],
    ) -> Float[Tensor, ""]:
        """The loss of a step, in which samples count by their weights: within the step, and the step among others."""
        weights = torch.tensor([sample.weight / self._mean_weight for sample in samples], device=logits.device)
        each = weights[:, None].expand(labels.shape)
        loss = segmentation_loss(logits.flatten(0, 1), labels.flatten(), self._data.ignore, each.flatten())
        return weights.mean() * loss

    def _texts(
        self, samples: Sequence[SampleRow], generator: torch.Generator
    ) -> tuple[Float[Tensor, "image token dim"], Bool[Tensor, "image token"]]:
        """The samples' texts, of which some are dropped."""
        tokens, mask = self._data.texts(samples)
        shown = torch.rand(len(samples), generator=generator) >= self._settings.text_dropout
        return tokens, mask & shown.to(mask.device)[:, None]


class PixelLearner(Learner[PixelHead]):
    """Learns from sampled pixels, with a learning rate that rises and falls, and is checked on sampled pixels."""

    head_class = PixelHead
    check_name = "val_dice_sampled"
    min_steps = 8
    max_gradient_norm = 1.0

    def rate(self, progress: float) -> float:
        """As `schedule`."""
        return schedule(progress)

    def loss(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Float[Tensor, ""]:
        """Over pixels drawn evenly from the labelled ones of each image."""
        batch = sample_batch(self._data, samples, self._config.pixels_per_image, generator)
        logits = self.head(batch.features, batch.pixels, self._data.size, *self._texts(samples, generator))
        return self._weighted_loss(samples, logits, batch.labels)

    @torch.no_grad()
    def check(self) -> float:
        """Dice over the same sampled pixels of the validation images after every epoch, all images together."""
        generator = named_generator(self._config.seed, "checked pixels")
        counts = torch.zeros(self._data.n_classes, self._data.n_classes, dtype=torch.long)
        for sample in self._checked:
            batch = sample_batch(self._data, [sample], PIXELS_PER_CHECK, generator)
            logits = self.head(batch.features, batch.pixels, self._data.size, *self._data.texts([sample]))
            counts += confusion(logits.argmax(-1).cpu(), batch.labels.cpu(), self._data.n_classes, self._data.ignore)
        return float(dice(counts).mean())

    def _prepare(self, train: Sequence[SampleRow]) -> None:
        samples = train[:MAX_CHECKED_IMAGES]
        for block in self._data.blocks:  # one at a time, since all of them take a gigabyte
            generator = named_generator(self._config.seed, "statistics")
            data = replace(self._data, blocks=(block,))
            features = sample_everywhere(data, samples, PIXELS_FOR_STATISTICS // len(samples), generator)
            self.head.standardise(block, features[block])


class PaperLearner(Learner[PaperHead]):
    """Learns from whole images as the paper does: once an epoch each, at a constant learning rate."""

    head_class = PaperHead
    check_name = "val_dice_whole"

    def loss(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Float[Tensor, ""]:
        """Over all labelled pixels."""
        features = stack_maps([self._data.maps(sample) for sample in samples])
        labels = torch.stack([self._data.labels(sample) for sample in samples])
        logits = self.head(features, self._data.size, *self._texts(samples, generator))
        return self._weighted_loss(samples, logits.movedim(1, -1).flatten(1, 2), labels.flatten(1))

    def check(self) -> float:
        """Mean over whole validation images."""
        return float(dice_of_samples(self.head, self._data, self._checked).mean())


LEARNERS: Mapping[HeadKind, type[Learner[Any]]] = {"pixel": PixelLearner, "paper": PaperLearner}


@dataclass(frozen=True)
class Finalist:
    """A head that did well in its check."""

    epoch: int
    checked_dice: float
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

    Raises:
        ConfigError: if the head cannot be made for these blocks.
    """

    def __init__(
        self, data: HeadData, train: Sequence[SampleRow], val: Sequence[SampleRow], config: TrainConfig
    ) -> None:
        self._data, self._train, self._val = data, list(train), list(val)
        self._seed, self._settings = config.seed, config.settings
        self.learner: Learner[Any] = LEARNERS[config.head](data, self._train, self._val, config)
        self.optimizer = torch.optim.AdamW(
            self.head.parameters(), self._settings.learning_rate, weight_decay=self._settings.weight_decay, fused=True
        )
        self.history: list[dict[str, float]] = []
        self.finalists: list[Finalist] = []

    @property
    def head(self) -> Head:
        """What is trained; in evaluation mode between epochs."""
        return self.learner.head

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    @property
    def n_epochs(self) -> int:
        """How many epochs there are to be."""
        return self._settings.epochs

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch and check the head."""
        epoch = self.epoch
        generator = named_generator(self._seed, "epoch", epoch)
        steps = self._order(generator)
        self.head.train()
        losses = [self._step(samples, epoch + i / len(steps), generator) for i, samples in enumerate(steps)]
        self.head.eval()
        if not all(map(math.isfinite, losses)):
            raise ConfigError(f"the loss is not finite in epoch {epoch + 1}: lower --learning-rate or --weight-decay")
        checked_dice = self.learner.check()
        row = {"epoch": epoch + 1, "loss": sum(losses) / len(losses), self.learner.check_name: checked_dice}
        self.history.append(row)
        self._keep_if_good(Finalist(epoch + 1, checked_dice, copy.deepcopy(self.head.state_dict())))
        return row

    def finish(self) -> tuple[Finalist, Float[Tensor, "sample class"]]:
        """Choose among the finalists by their Dice on whole validation images, and load the best into `head`.

        Returns:
            The winner, and its Dice for each validation sample and class.
        """
        scored = []
        for finalist in self.finalists:
            self.head.load_state_dict(finalist.weights)
            scored.append(dice_of_samples(self.head, self._data, self._val))
        best = max(range(len(scored)), key=lambda place: float(scored[place].mean()))
        self.head.load_state_dict(self.finalists[best].weights)
        return self.finalists[best], scored[best]

    def _order(self, generator: torch.Generator) -> list[list[SampleRow]]:
        """The images of each step: all of them, several times where they are few."""
        per_step, n_train = self._settings.images_per_step, len(self._train)
        passes = max(1, math.ceil(self.learner.min_steps * per_step / n_train))
        order = torch.cat([torch.randperm(n_train, generator=generator) for _ in range(passes)])
        return [[self._train[place] for place in chunk.tolist()] for chunk in order.split(per_step)]

    def _step(self, samples: list[SampleRow], epochs_done: float, generator: torch.Generator) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * self.learner.rate(epochs_done / self.n_epochs)
        loss = self.learner.loss(samples, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), self.learner.max_gradient_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _keep_if_good(self, candidate: Finalist) -> None:
        ranked = sorted([*self.finalists, candidate], key=lambda finalist: (-finalist.checked_dice, finalist.epoch))
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


def score_samples(head: Head, data: HeadData, samples: Sequence[SampleRow]) -> Int[Tensor, "sample label predicted"]:
    """Confusion counts of whole images at the model's size."""
    counts = []
    for sample in samples:
        tokens, mask = data.texts([sample])
        predicted = head.segment(data.maps(sample), data.size, tokens[0], mask[0]).argmax(0)
        counts.append(confusion(predicted.cpu(), data.labels(sample).cpu(), data.n_classes, data.ignore))
    return torch.stack(counts)


def dice_of_samples(head: Head, data: HeadData, samples: Sequence[SampleRow]) -> Float[Tensor, "sample class"]:
    """Dice of whole images, tiles of one image together."""
    return dice(counts_by_parent(score_samples(head, data, samples), samples))
