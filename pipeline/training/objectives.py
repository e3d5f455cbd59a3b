"""How heads of each kind learn: the loss of a step, the check of a head, the shape of the steps.

A `TrainingObjective` holds the head, one or an ensemble. The members of an ensemble share the batch, which is gathered
once. Each has its own initial weights, its own text dropout and its own half of the sampled pixels; gradients are
separate.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...cache.format.samples import SampleRow
from ...stages.features.augmentation import HIDDEN, jitter_activations, jitter_colours
from ...stages.features.sampling import FILTERS
from ...stages.heads.base import ALL_CHANNELS, GuidedHead, Head, HeadSpec
from ...stages.heads.context import ContextHead
from ...stages.heads.ensemble import ensemble_of
from ...stages.heads.loss import segmentation_loss
from ...stages.heads.paper import PaperHead, stack_maps
from ...stages.heads.pixel import PixelHead
from ...stages.metrics.overlap import confusion, dice
from ...stages.seeds import named_generator, named_seed
from ..config.training import HeadKind, TrainConfig
from ..head_inputs.crops import draw_crops, require_cells
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.pixels import sample_batch, sample_everywhere
from ..head_inputs.scoring import dice_of_samples

PIXELS_PER_CHECK = 512
MAX_CHECKED_IMAGES = 64
PIXELS_FOR_STATISTICS = 65_536
_DRAWING_WEIGHTS = threading.Lock()
"""Initial weights come from torch's own generator, which all threads share."""

AnyHead = TypeVar("AnyHead", bound=Head)
AnyGuidedHead = TypeVar("AnyGuidedHead", bound=GuidedHead)


class TrainingObjective(ABC, Generic[AnyHead]):
    """A head or an ensemble, and how heads of its kind learn.

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
        self, data: CachedFeatures, train: Sequence[SampleRow], val: Sequence[SampleRow], config: TrainConfig
    ) -> None:
        self._data, self._config, self._settings = data, config, config.settings
        self._mean_weight = sum(sample.weight for sample in train) / len(train)
        order = torch.randperm(len(val), generator=named_generator(config.seed, "checked images"))
        self._checked = [val[place] for place in order[:MAX_CHECKED_IMAGES].tolist()]
        spec = data.head_spec(self._settings.width, config.n_heads, place=config.place)
        self._members = [self._initial(spec, place).to(data.device) for place in range(config.ensemble)]
        self.head: Head = ensemble_of(self._members).eval()
        self._prepare(train)

    def rate(self, progress: float) -> float:
        """Share of the learning rate at a share of the training that is done, in [0, 1]: constant."""
        del progress
        return 1.0

    @abstractmethod
    def losses(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[Float[Tensor, ""]]:
        """Each member's loss of a step on some samples, so that one after another can be gone back through."""

    @abstractmethod
    def check(self) -> float:
        """Dice on the validation images, or on part of them: what ranks epochs."""

    def _initial(self, spec: HeadSpec, member: int) -> AnyHead:
        """A head with the initial weights of a member; those of the first are the seed's own, as of a single head."""
        names = ("weights", member) if member else ("weights",)
        with _DRAWING_WEIGHTS, torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(self._config.seed, *names))
            return self.head_class(spec)

    def _prepare(self, train: Sequence[SampleRow]) -> None:
        """Set what of the heads is not trained; nothing by default."""

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


class GuidedObjective(TrainingObjective[AnyGuidedHead]):
    """Learns with a rate that rises and falls, from activations standardised by a sample of the training images."""

    max_gradient_norm = 1.0

    def rate(self, progress: float) -> float:
        """As `schedule`."""
        return schedule(progress)

    def _prepare(self, train: Sequence[SampleRow]) -> None:
        samples = train[:MAX_CHECKED_IMAGES]
        n_pixels = PIXELS_FOR_STATISTICS // len(samples)
        for block in self._data.map_keys:  # one at a time, since all of them take a gigabyte
            generator = named_generator(self._config.seed, "statistics")
            features = sample_everywhere(self._data.only(block), samples, n_pixels, generator)
            for member in self._members:
                member.standardise(block, features[block])


class PixelObjective(GuidedObjective[PixelHead]):
    """Learns from sampled pixels, and is checked on sampled pixels."""

    head_class = PixelHead
    check_name = "val_dice_sampled"
    min_steps = 8

    def losses(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[Float[Tensor, ""]]:
        """Over pixels drawn evenly from the labelled ones of each image; several members learn from half each."""
        batch = sample_batch(self._data, samples, self._config.pixels_per_image, generator)
        inputs = self._members[0].inputs(batch.features)
        windows = [self._data.region(sample) for sample in samples]
        for member in self._members:
            own = self._own(batch.pixels.shape[1], generator)
            given = inputs[:, own], batch.pixels[:, own], self._data.size, *self._texts(samples, generator)
            yield self._weighted_loss(samples, member(*given, windows=windows), batch.labels[:, own])

    def _own(self, n_pixels: int, generator: torch.Generator) -> slice | Tensor:
        """The pixels of a step that one member learns from: all if it is alone, else a half of its own.

        Halves (subagging, Bühlmann & Yu 2002, Annals of Statistics 30(4)) halve what a member costs beyond the batch.
        """
        if len(self._members) == 1:
            return ALL_CHANNELS
        return torch.randperm(n_pixels, generator=generator)[: math.ceil(n_pixels / 2)].to(self._data.device)

    @torch.no_grad()
    def check(self) -> float:
        """Dice over the same sampled pixels of the validation images after every epoch, all images together."""
        generator = named_generator(self._config.seed, "checked pixels")
        counts = torch.zeros(self._data.n_classes, self._data.n_classes, dtype=torch.long)
        for sample in self._checked:
            batch = sample_batch(self._data, [sample], PIXELS_PER_CHECK, generator)
            inputs = self._members[0].inputs(batch.features)
            given = inputs, batch.pixels, self._data.size, *self._data.texts([sample])
            windows = [self._data.region(sample)]
            mean = torch.stack([member(*given, windows=windows).softmax(-1) for member in self._members]).mean(0)
            counts += confusion(mean.argmax(-1).cpu(), batch.labels.cpu(), self._data.n_classes, self._data.ignore)
        return float(dice(counts).mean())


class ContextObjective(GuidedObjective[ContextHead]):
    """Learns from crops, turned and in other colours, and is checked on a crop of each image."""

    head_class = ContextHead
    check_name = "val_dice_crops"
    min_steps = 15

    def _prepare(self, train: Sequence[SampleRow]) -> None:
        require_cells(self._data)
        super()._prepare(train)

    def losses(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[Float[Tensor, ""]]:
        """Over a crop of each image with a labelled pixel in it, the same for all members."""
        batch = draw_crops(self._data, samples, generator, turn=True)
        inputs = self._jittered(self._members[0].inputs(batch.features), generator)
        for member in self._members:
            texts = self._texts(samples, generator)
            logits = member(inputs, batch.size, *texts, windows=batch.windows, turns=batch.turns)
            yield self._weighted_loss(samples, logits.movedim(1, -1).flatten(1, 2), batch.labels.flatten(1))

    @torch.no_grad()
    def check(self) -> float:
        """Dice over the same crops of the validation images after every epoch, all crops together."""
        generator = named_generator(self._config.seed, "checked crops")
        counts = torch.zeros(self._data.n_classes, self._data.n_classes, dtype=torch.long)
        for sample in self._checked:
            batch = draw_crops(self._data, [sample], generator)
            given = self._members[0].inputs(batch.features), batch.size, *self._data.texts([sample])
            each = [member(*given, windows=batch.windows).softmax(1) for member in self._members]
            predicted = torch.stack(each).mean(0).argmax(1)
            counts += confusion(predicted.cpu(), batch.labels.cpu(), self._data.n_classes, self._data.ignore)
        return float(dice(counts).mean())

    def _jittered(self, inputs: Mapping[int, Tensor], generator: torch.Generator) -> dict[int, Tensor]:
        """The inputs as another stain would make them; activations are hidden only where colours are left to see."""
        hidden = HIDDEN if FILTERS in inputs else 0.0
        return {
            block: jitter_colours(of, generator) if block == FILTERS else jitter_activations(of, generator, hidden)
            for block, of in inputs.items()
        }


class PaperObjective(TrainingObjective[PaperHead]):
    """Learns from whole images as the paper does: once an epoch each, at a constant learning rate."""

    head_class = PaperHead
    check_name = "val_dice_whole"

    def losses(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[Float[Tensor, ""]]:
        """Over all labelled pixels."""
        features = stack_maps([self._data.maps(sample) for sample in samples])
        labels = torch.stack([self._data.labels(sample) for sample in samples])
        for member in self._members:
            logits = member(features, self._data.size, *self._texts(samples, generator))
            yield self._weighted_loss(samples, logits.movedim(1, -1).flatten(1, 2), labels.flatten(1))

    def check(self) -> float:
        """Mean over whole validation images."""
        return float(dice_of_samples(self.head, self._data, self._checked).mean())


OBJECTIVES: Mapping[HeadKind, type[TrainingObjective[Any]]] = {
    "pixel": PixelObjective,
    "context": ContextObjective,
    "paper": PaperObjective,
}


def schedule(progress: float) -> float:
    """Share of the peak learning rate: up along a line over the first twentieth, then down along a cosine to 0.

    Args:
        progress: share of the training that is done, in [0, 1].
    """
    warm_up = 0.05
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
