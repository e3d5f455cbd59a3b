"""Training of a head, an epoch at a time; it can stop and resume between any two epochs.

`Trainer` is the loop that all kinds of head share; a kind's own part is its `TrainingObjective`. The members of an
ensemble are trained together, each with gradients of its own.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...cache.reader import FeatureReader
from ...errors import ConfigError
from ...stages.heads.base import Head
from ...stages.heads.loss import segmentation_loss
from ...stages.seeds import named_generator
from ..config.training import TrainConfig
from ..head_inputs.inputs import CachedFeatures, open_head_data, settle_text
from ..head_inputs.scoring import dice_of_samples
from ..head_inputs.splits import Split, choose_split
from ..runs.text_decision import TextDecision, decide_on_texts, without_trial
from ..runtime.device import resolve_device, resolve_precision
from ..runtime.transfer import ahead, to_device
from .objectives import OBJECTIVES, TrainingObjective

N_FINALISTS = 2
TRIAL_STEPS = 3
TRIAL_SHARE = 0.6
"""Share of the epochs after which `--text auto` decides; the rest of them are for the head that it chose."""


@dataclass(frozen=True)
class Finalist:
    """A head after one of the epochs that its check ranks highest."""

    epoch: int
    checked_dice: float
    weights: dict[str, Tensor]


class Trainer:
    """The training of a head, or of an ensemble whose members are trained at once.

    Everything random in an epoch comes from generators named by the seed and the epoch, so that the state after an
    epoch depends on the state before it and on nothing else.

    Args:
        data: the cache as the head sees it.
        split: labelled samples to train on, and to choose the epoch by.
        config: settings.

    Raises:
        ConfigError: if the head cannot be made for these blocks.
    """

    def __init__(self, data: CachedFeatures, split: Split, config: TrainConfig) -> None:
        self.split, self.config, self._settings = split, config, config.settings
        self._mean_weight = sum(sample.weight for sample in split.train) / len(split.train)
        self.objective: TrainingObjective[Any, Any] = OBJECTIVES[config.head](data, split, config)
        self.objective.prepare(split.train)  # reads features, so that a damaged cache is refused before a run begins
        self.optimizer = torch.optim.AdamW(
            self.head.parameters(), self._settings.learning_rate, weight_decay=self._settings.weight_decay, fused=True
        )
        self.history: list[dict[str, float]] = []
        self.finalists: list[Finalist] = []
        self.text_decision: TextDecision | None = None
        if config.text == "auto" and (decision := without_trial(list(self._groups().values()))):
            self.decide(decision)

    @classmethod
    def from_config(cls, config: TrainConfig, reader: FeatureReader, split: Split | None = None) -> Self:
        """The training that `train-head` does with these settings; nothing is written.

        Args:
            config: settings; neither `cache` nor `run` is looked at.
            reader: the open cache.
            split: what to train on and to choose the epoch by; `None`: as the settings say (`choose_split`).

        Raises:
            CacheError: if the cache cannot be read or lacks a block or timestep.
            ConfigError: if the head is `auto`, the device does not exist or the head cannot be made for these blocks.
            DataError: if there are too few labelled samples.
        """
        if config.head == "auto":
            raise ConfigError(
                "head got 'auto', which train_head resolves; a Trainer trains one: pixel, context or paper"
            )
        device = resolve_device(config.device)
        config = replace(
            config,
            precision=resolve_precision(config.precision, device),
            text=settle_text(reader, config.text),
        )
        data = open_head_data(
            reader,
            blocks=config.blocks,
            timesteps=config.timesteps,
            text="true" if config.text == "auto" else config.text,
            seed=config.seed,
            device=device,
            filters=config.uses_filters,
            sources=config.sources,
        )
        return cls(data, choose_split(reader, config) if split is None else split, config)

    @property
    def data(self) -> CachedFeatures:
        """The cache as the head sees it."""
        return self.objective.data

    @property
    def head(self) -> Head:
        """The head in training; in evaluation mode between epochs."""
        return self.objective.head

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the whole training."""
        return self._settings.epochs

    def run(self) -> None:
        """Train to the last epoch."""
        while self.epoch < self.n_epochs:
            self.run_epoch()

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch and check the head.

        Returns:
            The epoch's row of `metrics.jsonl`.

        Raises:
            ConfigError: if the loss is not finite.
        """
        generator = named_generator(self.config.seed, "epoch", self.epoch)
        order = self._order(generator)
        self.head.train()
        steps = ahead(lambda samples: self.draw(samples, generator), order, self.data.device)
        learnt = [self.learn(*step, self.epoch + i / len(order)) for i, step in enumerate(steps)]
        self.head.eval()
        losses = [sum(of_step) / len(of_step) for of_step in torch.stack(learnt).tolist()]
        if not all(map(math.isfinite, losses)):
            raise ConfigError(
                f"the loss is not finite in epoch {self.epoch + 1}: lower --learning-rate or --weight-decay"
            )
        if (
            self.config.text == "auto"
            and not self.text_decision
            and self.epoch + 1 == max(1, round(TRIAL_SHARE * self.n_epochs))
        ):
            self.decide(self._try_texts())
        checked_dice = self.objective.check()
        row = {"epoch": self.epoch + 1, "loss": sum(losses) / len(losses), self.objective.check_name: checked_dice}
        self.history.append(row)
        self._keep_if_good(Finalist(self.epoch, checked_dice, copy.deepcopy(self.head.state_dict())))
        return row

    def step(self, samples: Sequence[SampleRow], epochs_done: float, generator: torch.Generator) -> float:
        """One step of the optimiser, waited for.

        Args:
            samples: images of the step; they count by their weights, within the step and the step among others.
            epochs_done: with the share of the epoch under way; sets the learning rate.
            generator: of all that is random.

        Returns:
            The loss, the mean over the members.
        """
        losses = self.learn(*self.draw(samples, generator), epochs_done).tolist()
        return float(sum(losses) / len(losses))

    def draw(self, samples: Sequence[SampleRow], generator: torch.Generator) -> tuple[Any, Float[Tensor, "image"]]:
        """All that a step reads, on the device: the objective's part, and the images' weights."""
        weights = torch.tensor([sample.weight / self._mean_weight for sample in samples])
        return to_device((self.objective.draw(samples, generator), weights), self.data.device)

    def learn(self, drawn: Any, weights: Float[Tensor, "image"], epochs_done: float) -> Float[Tensor, "member"]:  # noqa: ANN401
        """One step of the optimiser, queued on the device; gives each member's loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * self.objective.rate(epochs_done / self.n_epochs)
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for logits, labels in self.objective.predictions(drawn):
            each = weights[:, None].expand(labels.shape)
            loss = segmentation_loss(logits.flatten(0, 1), labels.flatten(), self.data.ignore, each.flatten())
            loss = weights.mean() * loss
            loss.backward()
            losses.append(loss.detach())
        for member in self.head.members:
            torch.nn.utils.clip_grad_norm_(member.parameters(), self.objective.max_gradient_norm)
        self.optimizer.step()
        return torch.stack(losses)

    def estimate_seconds(self) -> float:
        """Seconds of the whole training by the time of a few steps, which change the head: it is to be thrown away."""
        generator = named_generator(self.config.seed, "trial")
        steps = self._order(generator)
        self.head.train()
        self.step(steps[0], 0.0, generator)  # the first takes longer: memory is made ready
        started = time.monotonic()
        for samples in (trial := steps[1 : 1 + TRIAL_STEPS] or steps[:1]):
            self.step(samples, 0.0, generator)
        return (time.monotonic() - started) / len(trial) * len(steps) * self.n_epochs

    def decide(self, decision: TextDecision) -> None:
        """Go on as `--text auto` decided; heads of before are no finalists."""
        self.text_decision, self.finalists = decision, []
        self.objective.decide_on_texts(used=decision.used)

    def _try_texts(self) -> TextDecision:
        """Score validation images with their texts and without."""
        rows, groups = self.objective.checked, self._groups()
        dice_with, dice_without = (
            dice_of_samples(self.head, data, rows).mean(-1).numpy() for data in (self.data, self.data.without_texts())
        )
        return decide_on_texts(dice_with, dice_without, [*groups.values()], self.epoch + 1)

    def _groups(self) -> dict[str, str]:
        """Sample → group, of the validation images by which the texts are tried."""
        return {row.parent: row.group for row in self.objective.checked}

    def validate(self) -> Float[Tensor, "sample class"]:
        """Dice of the head as it is on whole validation images, tiles of one image together."""
        return dice_of_samples(self.head, self.data, self.split.val)

    def finish(self) -> tuple[Finalist, Float[Tensor, "sample class"]]:
        """Choose among the finalists by their Dice on whole validation images, and load the best into `head`.

        Returns:
            The winner, and its Dice for each validation sample and class.
        """
        scored = []
        for finalist in self.finalists:
            self.head.load_state_dict(finalist.weights)
            scored.append(self.validate())
        best = max(range(len(scored)), key=lambda i: float(scored[i].mean()))
        self.head.load_state_dict(self.finalists[best].weights)
        return self.finalists[best], scored[best]

    def _order(self, generator: torch.Generator) -> list[list[SampleRow]]:
        """The images of each step: all of them, several times where they are few."""
        train, per_step = self.split.train, self._settings.images_per_step
        passes = max(1, math.ceil(self.objective.min_steps * per_step / len(train)))
        order = torch.cat([torch.randperm(len(train), generator=generator) for _ in range(passes)])
        return [[train[i] for i in chunk.tolist()] for chunk in order.split(per_step)]

    def _keep_if_good(self, candidate: Finalist) -> None:
        ranked = sorted([*self.finalists, candidate], key=lambda finalist: (-finalist.checked_dice, finalist.epoch))
        self.finalists = ranked[:N_FINALISTS]
