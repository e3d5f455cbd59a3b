"""Training objectives, one for each kind of head: the predictions of a step, the check of a head, the learning rate.

A `TrainingObjective` holds the head, one or an ensemble. The members of an ensemble share the batch, which is gathered
once. Each has its own initial weights, its own text dropout and its own half of the sampled pixels; gradients are
separate.

All that is random in a step, and all that it reads, is drawn on the CPU before the step begins: `draw`. A GPU computes
one step while the next is drawn, and is asked for nothing in between.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...cache.format.samples import SampleRow, parents
from ...stages.features.augmentation import (
    HIDDEN,
    ActivationJitter,
    ColourJitter,
    draw_activation_jitter,
    draw_colour_jitter,
    draw_shown,
)
from ...stages.features.sampling import FILTERS, MapKey
from ...stages.heads.base import ALL_CHANNELS, GuidedHead, Head, HeadSpec
from ...stages.heads.context import ContextHead, channels_read
from ...stages.heads.ensemble import ensemble_of
from ...stages.heads.paper import PaperHead, stack_maps
from ...stages.heads.pixel import PixelHead
from ...stages.metrics.overlap import confusion, dice
from ...stages.precision import Precision
from ...stages.seeds import named_generator, named_seed
from ..config.training import HeadKind, TrainConfig
from ..head_inputs.crops import draw_crops, require_cells
from ..head_inputs.inputs import CachedFeatures, RowTexts
from ..head_inputs.pixels import sample_batch, sample_everywhere
from ..head_inputs.scoring import dice_of_samples, false_negatives_by_row
from ..head_inputs.splits import Split, originals
from ..runtime.transfer import ahead, to_device
from .schedule import schedule, steps_of_crops
from .steps import ContextStep, PaperStep, PixelStep

PIXELS_PER_CHECK = 512
MAX_CHECKED_IMAGES = 64
PIXELS_FOR_STATISTICS = 65_536
PIXELS_FOR_PROBE = 1000
"""Of each labelled image; the probe's penalty goes with it."""
TRIAL_DROPOUT = 0.25
"""Text dropout until `--text auto` decides: the head learns to work with texts and without."""

_SEEDED = threading.Lock()
"""While initial weights are drawn from torch's one generator: heads may be trained in several threads."""

LabelledLogits = tuple[Float[Tensor, "image pixel n_classes"], Int[Tensor, "image pixel"]]
"""Logits of one member, and the labels of the same pixels."""

AnyHead = TypeVar("AnyHead", bound=Head)
AnyGuidedHead = TypeVar("AnyGuidedHead", bound=GuidedHead)
AnyStep = TypeVar("AnyStep")
AnyGuidedStep = TypeVar("AnyGuidedStep", PixelStep, ContextStep)


class TrainingObjective(ABC, Generic[AnyHead, AnyStep]):
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
        self._config, self._settings = config, config.settings
        order = torch.randperm(len(split.val), generator=named_generator(config.seed, "checked images"))
        self.checked = [split.val[i] for i in order[:MAX_CHECKED_IMAGES].tolist()]
        self.data = data.keep([*split.train, *self.checked])
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
    def draw(self, samples: Sequence[SampleRow], generator: torch.Generator) -> AnyStep:
        """All that a step on these images reads, on the CPU but for maps that are kept on the device."""

    @abstractmethod
    def predictions(self, step: AnyStep) -> Iterator[LabelledLogits]:
        """Logits and labels of a step for one member after another, so that only one graph is in memory.

        Args:
            step: what `draw` gives, on the device.
        """

    @abstractmethod
    def check(self) -> float:
        """Dice on the validation images or on part of them, by which epochs are ranked."""

    def _initial(self, spec: HeadSpec, member: int) -> AnyHead:
        """A head with the initial weights of a member; the first has those of a single head."""
        names = ("weights", member) if member else ("weights",)
        with _SEEDED, torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(self._config.seed, *names))
            return self.head_class(spec)

    def _texts(self, samples: Sequence[SampleRow], generator: torch.Generator) -> RowTexts:
        """The samples' texts after text dropout."""
        places, shown = self.data.choose_texts(samples)
        return RowTexts(places, shown & (torch.rand(len(samples), generator=generator) >= self._text_dropout))


class GuidedObjective(TrainingObjective[AnyGuidedHead, AnyGuidedStep]):
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

        def draw(sample: SampleRow) -> AnyGuidedStep:
            return to_device(self._draw_part(sample, generator), data.device)

        predicted, labels = [], []
        for part in ahead(draw, self.checked, data.device):
            predicted.append(self._predict_part(part).flatten())
            labels.append(part.batch.labels.flatten())
        counts = confusion(torch.cat(predicted).cpu(), torch.cat(labels).cpu(), data.n_classes, data.ignore)
        return float(dice(self._of_lost + counts).mean())

    @cached_property
    def _of_lost(self) -> Int[Tensor, "label predicted"]:
        """Counts of the classes that the checked images' labels lack and their masks have."""
        return false_negatives_by_row(self.data, self.checked).sum(0)

    @abstractmethod
    def _draw_part(self, sample: SampleRow, generator: torch.Generator) -> AnyGuidedStep:
        """As `draw`, a part of one image as it is, for all members alike."""

    @abstractmethod
    def _predict_part(self, part: AnyGuidedStep) -> Int[Tensor, "..."]:
        """Predicted labels of a part."""


class PixelObjective(GuidedObjective[PixelHead, PixelStep]):
    """Training and check on sampled pixels."""

    head_class = PixelHead
    check_name = "val_dice_sampled"
    checked_parts = "checked pixels"
    min_steps = 8

    def draw(self, samples: Sequence[SampleRow], generator: torch.Generator) -> PixelStep:
        """Pixels evenly from the labelled ones of each image; of several members each sees half."""
        n_pixels = self._config.pixels_per_image
        batch = sample_batch(self.data, samples, n_pixels, generator)
        shown = draw_shown(len(samples), self._members[0].spec.channels, generator)
        of_members = [(self._own(n_pixels, generator), self._texts(samples, generator)) for _ in self._members]
        return PixelStep(batch, shown, self._regions(samples), *zip(*of_members, strict=True))

    def predictions(self, step: PixelStep) -> Iterator[LabelledLogits]:
        """On the drawn pixels."""
        inputs = self._members[0].inputs(step.batch.features)
        if step.shown is not None:
            inputs = inputs * step.shown
        for member, own, texts in zip(self._members, step.own, step.texts, strict=True):
            given = inputs[:, own], step.batch.pixels[:, own], self.data.size, *self.data.read_texts(texts)
            with self.head.arithmetic(self.data.device):
                logits = member(*given, regions=step.regions)
            yield logits.float(), step.batch.labels[:, own]

    def _regions(self, samples: Sequence[SampleRow]) -> Float[Tensor, "image 4"]:
        return torch.tensor([self.data.region(sample) for sample in samples])

    def _own(self, n_pixels: int, generator: torch.Generator) -> slice | Tensor:
        """Indices of the pixels of a step for one member: all if it is alone, else a random half.

        Halves (subagging, Bühlmann & Yu 2002, Annals of Statistics 30(4)) halve the cost of a member beyond the batch.
        """
        if len(self._members) == 1:
            return ALL_CHANNELS
        return torch.randperm(n_pixels, generator=generator)[: math.ceil(n_pixels / 2)]

    def _draw_part(self, sample: SampleRow, generator: torch.Generator) -> PixelStep:
        batch = sample_batch(self.data, [sample], PIXELS_PER_CHECK, generator)
        return PixelStep(batch, None, self._regions([sample]), [ALL_CHANNELS], [self.data.choose_texts([sample])])

    def _predict_part(self, part: PixelStep) -> Tensor:
        inputs, texts = self._members[0].inputs(part.batch.features), self.data.read_texts(part.texts[0])
        with self.head.arithmetic(self.data.device):
            each = [
                member(inputs, part.batch.pixels, self.data.size, *texts, regions=part.regions)
                for member in self._members
            ]
        return torch.stack(each).float().softmax(-1).mean(0).argmax(-1)


class ContextObjective(GuidedObjective[ContextHead, ContextStep]):
    """Training on augmented crops (views and colour jitter), and check on a crop of each image."""

    head_class = ContextHead
    check_name = "val_dice_crops"
    checked_parts = "checked crops"

    def __init__(self, data: CachedFeatures, split: Split, config: TrainConfig) -> None:
        require_cells(data)
        super().__init__(data, split, config)
        self.min_steps = steps_of_crops(len(parents(split.train)))

    def draw(self, samples: Sequence[SampleRow], generator: torch.Generator) -> ContextStep:
        """A crop of each image with a labelled pixel in it, the same for all members, and its colour jitter."""
        batch = draw_crops(self.data, samples, generator, turn=True)
        jitter = {block: self._jitter(block, len(samples), generator) for block in batch.features}
        return ContextStep(batch, jitter, [self._texts(samples, generator) for _ in self._members])

    def predictions(self, step: ContextStep) -> Iterator[LabelledLogits]:
        """On the drawn crops."""
        batch = step.batch
        inputs = {block: step.jitter[block].of(x) for block, x in self._members[0].inputs(batch.features).items()}
        for member, texts in zip(self._members, step.texts, strict=True):
            given = inputs, batch.size, *self.data.read_texts(texts)
            with self.head.arithmetic(self.data.device):
                logits = member(*given, regions=batch.regions, turns=batch.turns)
            yield logits.float().movedim(1, -1).flatten(1, 2), batch.labels.flatten(1)

    def _draw_part(self, sample: SampleRow, generator: torch.Generator) -> ContextStep:
        return ContextStep(draw_crops(self.data, [sample], generator), {}, [self.data.choose_texts([sample])])

    def _predict_part(self, part: ContextStep) -> Tensor:
        batch, texts = part.batch, self.data.read_texts(part.texts[0])
        inputs = self._members[0].inputs(batch.features)
        with self.head.arithmetic(self.data.device):
            each = [member(inputs, batch.size, *texts, regions=batch.regions) for member in self._members]
        return torch.stack(each).float().softmax(2).mean(0).argmax(1)

    def _jitter(self, block: MapKey, n_images: int, generator: torch.Generator) -> ActivationJitter | ColourJitter:
        """Colour jitter of a block; activations are hidden at random only where the filters remain visible."""
        n_channels = len(range(self._members[0].spec.channels[block])[channels_read(block)])
        if block == FILTERS:
            return draw_colour_jitter(n_images, n_channels, generator)
        return draw_activation_jitter(n_images, n_channels, generator, HIDDEN if self.data.filters else 0.0)


class PaperObjective(TrainingObjective[PaperHead, PaperStep]):
    """Training on whole images as in the paper: each once an epoch, at a constant learning rate."""

    head_class = PaperHead
    check_name = "val_dice_whole"

    def draw(self, samples: Sequence[SampleRow], generator: torch.Generator) -> PaperStep:
        """All pixels."""
        maps = [self.data.maps(sample) for sample in samples]
        labels = torch.stack([self.data.labels(sample) for sample in samples])
        return PaperStep(maps, labels, [self._texts(samples, generator) for _ in self._members])

    def predictions(self, step: PaperStep) -> Iterator[LabelledLogits]:
        """On all pixels."""
        features = stack_maps(step.maps)
        for member, texts in zip(self._members, step.texts, strict=True):
            with self.head.arithmetic(self.data.device):
                logits = member(features, self.data.size, *self.data.read_texts(texts))
            yield logits.float().movedim(1, -1).flatten(1, 2), step.labels.flatten(1)

    def check(self) -> float:
        """Mean Dice of whole validation images."""
        return float(dice_of_samples(self.head, self.data, self.checked).mean())


OBJECTIVES: Mapping[HeadKind, type[TrainingObjective[Any, Any]]] = {
    "pixel": PixelObjective,
    "context": ContextObjective,
    "paper": PaperObjective,
}
