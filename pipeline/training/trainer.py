"""Trains a head, an epoch at a time; it can stop and go on between any two epochs.

`Trainer` is the loop that all kinds of head share; a kind's own part is its `TrainingObjective`. The members of an
ensemble go through it together, each with gradients of its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...errors import ConfigError
from ...stages.heads.base import Head
from ...stages.metrics.overlap import dice
from ...stages.seeds import named_generator
from ..config.training import TrainConfig
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.scoring import PredictionObserver, score_samples
from ..scoring.summary import counts_by_parent
from .objectives import OBJECTIVES, TrainingObjective

N_FINALISTS = 2


@dataclass(frozen=True)
class Finalist:
    """A head that did well in its check."""

    epoch: int
    checked_dice: float
    weights: dict[str, Tensor]


class Trainer:
    """The state of the training of a head, or of an ensemble whose members are trained at once.

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
        self, data: CachedFeatures, train: Sequence[SampleRow], val: Sequence[SampleRow], config: TrainConfig
    ) -> None:
        self._data, self._train, self._val = data, list(train), list(val)
        self._seed, self._settings = config.seed, config.settings
        self.learner: TrainingObjective[Any] = OBJECTIVES[config.head](data, self._train, self._val, config)
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
        for _ in self.epoch_steps():
            pass
        return self.history[-1]

    def epoch_steps(self) -> Iterator[None]:
        """`run_epoch`, stopping after each step of the optimiser: so heads that are trained side by side take turns."""
        epoch, losses = self.epoch, []
        generator = named_generator(self._seed, "epoch", epoch)
        steps = self._order(generator)
        self.head.train()
        for i, samples in enumerate(steps):
            losses.append(self._step(samples, epoch + i / len(steps), generator))
            yield
        self.head.eval()
        if not all(map(math.isfinite, losses)):
            raise ConfigError(f"the loss is not finite in epoch {epoch + 1}: lower --learning-rate or --weight-decay")
        checked_dice = self.learner.check()
        row = {"epoch": epoch + 1, "loss": sum(losses) / len(losses), self.learner.check_name: checked_dice}
        self.history.append(row)
        self._keep_if_good(Finalist(epoch + 1, checked_dice, copy.deepcopy(self.head.state_dict())))

    def finish(
        self, looks: Mapping[int, PredictionObserver] | None = None
    ) -> tuple[Finalist, Float[Tensor, "sample class"]]:
        """Choose among the finalists by their Dice on whole validation images, and load the best into `head`.

        Args:
            looks: epoch of a finalist → what is shown its predictions.

        Returns:
            The winner, and its Dice for each validation sample and class.
        """
        steps = self.finish_steps(looks)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def finish_steps(
        self, looks: Mapping[int, PredictionObserver] | None = None
    ) -> Generator[None, None, tuple[Finalist, Float[Tensor, "sample class"]]]:
        """`finish`, stopping after each image."""
        scored = []
        for finalist in self.finalists:
            self.head.load_state_dict(finalist.weights)
            scored.append((yield from self.score_steps((looks or {}).get(finalist.epoch))))
        best = max(range(len(scored)), key=lambda place: float(scored[place].mean()))
        self.head.load_state_dict(self.finalists[best].weights)
        return self.finalists[best], scored[best]

    def score_steps(
        self, look: PredictionObserver | None = None
    ) -> Generator[None, None, Float[Tensor, "sample class"]]:
        """Dice of the head as it is on whole validation images, stopping after each of them."""
        counts = []
        for sample in self._val:
            counts.append(score_samples(self.head, self._data, [sample], look))
            yield
        return dice(counts_by_parent(torch.cat(counts), self._val))

    def _order(self, generator: torch.Generator) -> list[list[SampleRow]]:
        """The images of each step: all of them, several times where they are few."""
        per_step, n_train = self._settings.images_per_step, len(self._train)
        passes = max(1, math.ceil(self.learner.min_steps * per_step / n_train))
        order = torch.cat([torch.randperm(n_train, generator=generator) for _ in range(passes)])
        return [[self._train[place] for place in chunk.tolist()] for chunk in order.split(per_step)]

    def _step(self, samples: list[SampleRow], epochs_done: float, generator: torch.Generator) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * self.learner.rate(epochs_done / self.n_epochs)
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(loss) for loss in self.learner.losses(samples, generator)]
        for member in self.head.members:
            torch.nn.utils.clip_grad_norm_(member.parameters(), self.learner.max_gradient_norm)
        self.optimizer.step()
        return sum(losses) / len(losses)

    def _backward(self, loss: Float[Tensor, ""]) -> float:
        loss.backward()
        return float(loss.detach())

    def _keep_if_good(self, candidate: Finalist) -> None:
        ranked = sorted([*self.finalists, candidate], key=lambda finalist: (-finalist.checked_dice, finalist.epoch))
        self.finalists = ranked[:N_FINALISTS]
