"""Training objectives, one for each kind of head: the predictions of a step, the check of a head, the learning rate.

A `TrainingObjective` holds the head, one or an ensemble. The members of an ensemble share the batch, which is gathered
once. Each has its own initial weights, its own text dropout and its own half of the sampled pixels; gradients are
separate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...cache.format.samples import SampleRow, parents
from ...stages.features.augmentation import HIDDEN, hide_blocks, jitter_activations, jitter_colours
from ...stages.features.sampling import FILTERS, MapKey
from ...stages.heads.base import ALL_CHANNELS, GuidedHead, Head, HeadSpec
from ...stages.heads.context import ContextHead
from ...stages.heads.ensemble import ensemble_of
from ...stages.heads.paper import PaperHead, stack_maps
from ...stages.heads.pixel import PixelHead
from ...stages.metrics.overlap import confusion, dice
from ...stages.precision import Precision
from ...stages.seeds import named_generator, named_seed
from ..config.training import HeadKind, TrainConfig
from ..head_inputs.crops import draw_crops, require_cells
from ..head_inputs.inputs import CachedFeatures
from ..head_inputs.pixels import sample_batch, sample_everywhere
from ..head_inputs.scoring import dice_of_samples, missed_by_row
from ..head_inputs.splits import Split, originals

PIXELS_PER_CHECK = 512
MAX_CHECKED_IMAGES = 64
PIXELS_FOR_STATISTICS = 65_536
PIXELS_FOR_PROBE = 1000
"""Of each labelled image; the probe's penalty goes with it."""
STEPS_OF_CROPS = (15, 45)
"""Fewest and most steps of an epoch that passes over the images several times."""
TRIAL_DROPOUT = 0.25
"""Text dropout until `--text auto` decides: the head learns to work with texts and without."""

LabelledLogits = tuple[Float[Tensor, "image pixel n_classes"], Int[Tensor, "image pixel"]]
"""Logits of one member, and the labels of the same pixels."""

AnyHead = TypeVar("AnyHead", bound=Head)
AnyGuidedHead = TypeVar("AnyGuidedHead", bound=GuidedHead)


class TrainingObjective(ABC, Generic[AnyHead]):
    """A head or an ensemble, and the training of its kind.

    `data` is the cache as the head sees it: without texts after `decide_on_texts(used=False)`. `checked` are the rows
    by which the head is checked.

    Args:
        data: with each sample's text.
        split: labelled samples; `val` chooses the epoch.
        config: settings.

    Raises:
        ConfigError: if the head cannot be made for these blocks or images.
    """

    head_class: type[AnyHead]
    check_name: ClassVar[str]
    """Name of the result of `check` in `metrics.jsonl`."""
    min_steps: int = 1
    """Least steps of an epoch: where images are few, an epoch passes over them several times."""
    max_gradient_norm: ClassVar[float] = math.inf
    """Each member's gradients are clipped to this norm."""

    def __init__(self, data: CachedFeatures, split: Split, config: TrainConfig) -> None:
        self.data, self._config, self._settings = data, config, config.settings
        order = torch.randperm(len(split.val), generator=named_generator(config.seed, "checked images"))
        self.checked = [split.val[i] for i in order[:MAX_CHECKED_IMAGES].tolist()]
        self._text_dropout = max(self._settings.text_dropout, TRIAL_DROPOUT if config.text == "auto" else 0.0)
        spec = data.head_spec(self._settings.width, config.n_attention_heads, position=config.position)
        self._members = [self._initial(spec, member).to(data.device) for member in range(config.ensemble)]
        self.head: Head = ensemble_of(self._members).eval()
        self.head.precision = cast("Precision", config.precision)

    def decide_on_texts(self, *, used: bool) -> None:
        """End the trial of `--text auto`: go on with the texts at their usual dropout, or without any."""
        self._text_dropout = self._settings.text_dropout
        if not used:
            self.data = self.data.without_texts()

    def rate(self, progress: float) -> float:
        """Share of the learning rate after a share of the training, in [0, 1]: constant."""
        del progress
        return 1.0

    def prepare(self, train: Sequence[SampleRow]) -> None:
        """Set the buffers that are not trained, before the first epoch; heads have none by default."""

    @abstractmethod
    def predictions(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[LabelledLogits]:
        """Logits and labels of a step for one member after another, so that only one graph is in memory."""

    @abstractmethod
    def check(self) -> float:
        """Dice on the validation images or on part of them, by which epochs are ranked."""

    def _initial(self, spec: HeadSpec, member: int) -> AnyHead:
        """A head with the initial weights of a member; the first has those of a single head."""
        names = ("weights", member) if member else ("weights",)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(self._config.seed, *names))
            return self.head_class(spec)

    def _texts(
        self, samples: Sequence[SampleRow], generator: torch.Generator
    ) -> tuple[Float[Tensor, "image token dim"], Bool[Tensor, "image token"]]:
        """The samples' texts after text dropout."""
        tokens, mask = self.data.texts(samples)
        shown = torch.rand(len(samples), generator=generator) >= self._text_dropout
        return tokens, mask & shown.to(mask.device)[:, None]


class GuidedObjective(TrainingObjective[AnyGuidedHead]):
    """Training on standardised activations with a learning rate that rises and falls; check on parts of images."""

    max_gradient_norm = 1.0
    checked_parts: ClassVar[str]
    """Names the generator of the parts."""

    def rate(self, progress: float) -> float:
        """As `schedule`."""
        return schedule(progress)

    def prepare(self, train: Sequence[SampleRow]) -> None:
        """Standardise each block by pixels of the first `MAX_CHECKED_IMAGES` training images, labelled or not."""
        samples = train[:MAX_CHECKED_IMAGES]
        n_pixels = PIXELS_FOR_STATISTICS // len(samples)
        for block in self.data.map_keys:  # one at a time, since all of them take a gigabyte
            generator = named_generator(self._config.seed, "statistics")
            features = sample_everywhere(self.data.only(block), samples, n_pixels, generator)
            for member in self._members:
                member.standardise(block, features[block])
        if self.data.filters:
            self._fit_probe(originals(train))

    def _fit_probe(self, labelled: Sequence[SampleRow]) -> None:
        """Fit the heads' probe to pixels of the first `MAX_CHECKED_IMAGES` labelled images."""
        generator = named_generator(self._config.seed, "probe")
        batch = sample_batch(self.data.only(FILTERS), labelled[:MAX_CHECKED_IMAGES], PIXELS_FOR_PROBE, generator)
        features, labels = batch.features[FILTERS].flatten(0, 1), batch.labels.flatten()
        for member in self._members:
            if member.probe is not None:
                member.probe.fit(features, labels, len(parents(labelled)))

    @torch.no_grad()
    def check(self) -> float:
        """Dice over a part of each validation image, all together, the same parts after every epoch."""
        generator, data = named_generator(self._config.seed, self.checked_parts), self.data
        counts = self._missed.clone()
        for sample in self.checked:
            predicted, labels = self._predict_part(sample, generator)
            counts += confusion(predicted.cpu(), labels.cpu(), data.n_classes, data.ignore)
        return float(dice(counts).mean())

    @cached_property
    def _missed(self) -> Int[Tensor, "label predicted"]:
        """Counts of the classes that the checked images' labels lack and their masks have."""
        return missed_by_row(self.data, self.checked).sum(0)

    @abstractmethod
    def _predict_part(self, sample: SampleRow, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Predicted and true labels of a part of an image, drawn at random."""


class PixelObjective(GuidedObjective[PixelHead]):
    """Training and check on sampled pixels."""

    head_class = PixelHead
    check_name = "val_dice_sampled"
    checked_parts = "checked pixels"
    min_steps = 8

    def predictions(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[LabelledLogits]:
        """On pixels drawn evenly from the labelled ones of each image; of several members each sees half."""
        batch = sample_batch(self.data, samples, self._config.pixels_per_image, generator)
        channels = self._members[0].spec.channels
        inputs = hide_blocks(self._members[0].inputs(batch.features), channels, generator)
        regions = [self.data.region(sample) for sample in samples]
        for member in self._members:
            own = self._own(batch.pixels.shape[1], generator)
            given = inputs[:, own], batch.pixels[:, own], self.data.size, *self._texts(samples, generator)
            with self.head.arithmetic(self.data.device):
                logits = member(*given, regions=regions)
            yield logits.float(), batch.labels[:, own]

    def _own(self, n_pixels: int, generator: torch.Generator) -> slice | Tensor:
        """Indices of the pixels of a step for one member: all if it is alone, else a random half.

        Halves (subagging, Bühlmann & Yu 2002, Annals of Statistics 30(4)) halve the cost of a member beyond the batch.
        """
        if len(self._members) == 1:
            return ALL_CHANNELS
        return torch.randperm(n_pixels, generator=generator)[: math.ceil(n_pixels / 2)].to(self.data.device)

    def _predict_part(self, sample: SampleRow, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch, regions = sample_batch(self.data, [sample], PIXELS_PER_CHECK, generator), [self.data.region(sample)]
        given = self._members[0].inputs(batch.features), batch.pixels, self.data.size, *self.data.texts([sample])
        with self.head.arithmetic(self.data.device):
            each = [member(*given, regions=regions) for member in self._members]
        return torch.stack(each).float().softmax(-1).mean(0).argmax(-1), batch.labels


class ContextObjective(GuidedObjective[ContextHead]):
    """Training on augmented crops (views and colour jitter), and check on a crop of each image."""

    head_class = ContextHead
    check_name = "val_dice_crops"
    checked_parts = "checked crops"

    def __init__(self, data: CachedFeatures, split: Split, config: TrainConfig) -> None:
        require_cells(data)
        super().__init__(data, split, config)
        self.min_steps = steps_of_crops(len(parents(split.train)))

    def predictions(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[LabelledLogits]:
        """On a crop of each image with a labelled pixel in it, the same for all members."""
        batch = draw_crops(self.data, samples, generator, turn=True)
        inputs = self._jittered(self._members[0].inputs(batch.features), generator)
        for member in self._members:
            texts = self._texts(samples, generator)
            with self.head.arithmetic(self.data.device):
                logits = member(inputs, batch.size, *texts, regions=batch.regions, turns=batch.turns)
            yield logits.float().movedim(1, -1).flatten(1, 2), batch.labels.flatten(1)

    def _predict_part(self, sample: SampleRow, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch = draw_crops(self.data, [sample], generator)
        given = self._members[0].inputs(batch.features), batch.size, *self.data.texts([sample])
        with self.head.arithmetic(self.data.device):
            each = [member(*given, regions=batch.regions) for member in self._members]
        return torch.stack(each).float().softmax(2).mean(0).argmax(1), batch.labels

    def _jittered(self, inputs: Mapping[MapKey, Tensor], generator: torch.Generator) -> dict[MapKey, Tensor]:
        """The inputs with colour jitter; activations are hidden at random only where the filters remain visible."""
        hidden = HIDDEN if FILTERS in inputs else 0.0
        return {
            block: jitter_colours(x, generator) if block == FILTERS else jitter_activations(x, generator, hidden)
            for block, x in inputs.items()
        }


class PaperObjective(TrainingObjective[PaperHead]):
    """Training on whole images as in the paper: each once an epoch, at a constant learning rate."""

    head_class = PaperHead
    check_name = "val_dice_whole"

    def predictions(self, samples: Sequence[SampleRow], generator: torch.Generator) -> Iterator[LabelledLogits]:
        """On all pixels."""
        features = stack_maps([self.data.maps(sample) for sample in samples])
        labels = torch.stack([self.data.labels(sample) for sample in samples])
        for member in self._members:
            with self.head.arithmetic(self.data.device):
                logits = member(features, self.data.size, *self._texts(samples, generator))
            yield logits.float().movedim(1, -1).flatten(1, 2), labels.flatten(1)

    def check(self) -> float:
        """Mean Dice of whole validation images."""
        return float(dice_of_samples(self.head, self.data, self.checked).mean())


OBJECTIVES: Mapping[HeadKind, type[TrainingObjective[Any]]] = {
    "pixel": PixelObjective,
    "context": ContextObjective,
    "paper": PaperObjective,
}


def steps_of_crops(n_images: int) -> int:
    """Least steps of an epoch of the context head: two a labelled image, within `STEPS_OF_CROPS`.

    With many images a longer training is worth its time, with few it does harm: on a fold of MoNuSeg three times as
    many epochs came to 0.799 with 19 images, where the usual number has 0.788, and to 0.770 with 4, where it has 0.782
    (docs/results.md).
    """
    least, most = STEPS_OF_CROPS
    return min(most, max(least, 2 * n_images))


def schedule(progress: float) -> float:
    """Share of the peak learning rate: linear warm-up over the first twentieth, then a cosine to 0.

    Args:
        progress: finished share of the training, in [0, 1].
    """
    warm_up = 0.05
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
