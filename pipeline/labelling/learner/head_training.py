"""Training of a pixel head on the held pixels, for a time: its weights are kept from one stroke to the next.

Each time the learning rate rises and falls as in a whole training. Text dropout keeps the head fit for images without
text. The sampled pixels are even over the classes of a row, as the strokes are not over the pixels of an image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ....cache.format.samples import SampleRow
from ....stages.features.augmentation import draw_shown
from ....stages.features.position import Region
from ....stages.features.sampling import MapKey
from ....stages.heads.base import HeadSpec
from ....stages.heads.loss import segmentation_loss
from ....stages.heads.pixel import PixelHead
from ....stages.precision import Precision
from ....stages.seeds import named_generator, named_seed
from ...config.training import HEAD_DEFAULTS
from ...training.objectives import TRIAL_DROPOUT, GuidedObjective, LabelledLogits
from ...training.schedule import schedule
from .labelled_pixels import HeldPixels

ROWS_PER_STEP = 8
PIXELS_PER_STEP = 2048
SETTINGS = HEAD_DEFAULTS["pixel"]


@dataclass(frozen=True)
class Budget:
    """The end of a training: whichever comes first."""

    seconds: float
    steps: int = 10**9

    def progress(self, seconds: float, steps: int) -> float:
        """Share that is spent after a time and a number of steps; from 1 on it is over."""
        return max(seconds / self.seconds, steps / self.steps)


@dataclass(frozen=True)
class Surroundings:
    """Inputs of a head for rows, beside their pixels."""

    channels: Mapping[MapKey, int]
    """Block → its channels, in the order in which held pixels have them."""
    size: tuple[int, int]
    """(y, x) of the label map."""
    ignore: int
    region: Callable[[SampleRow], Region]
    texts: Callable[[Sequence[SampleRow]], tuple[Float[Tensor, "row token dim"], Bool[Tensor, "row token"]]]
    """Tokens of the rows' texts, and their mask, on the head's device."""


class HeadTraining:
    """A pixel head with its optimiser.

    Args:
        head: to begin with; it is changed.
        seed: of the pixels and of text dropout.
    """

    def __init__(self, head: PixelHead, seed: int) -> None:
        self.head, self._generator = head, named_generator(seed, "strokes")
        self._optimizer = torch.optim.AdamW(
            head.parameters(), SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay, fused=True
        )

    @staticmethod
    def warm_up() -> None:
        """Spare the first stroke the seconds in which torch imports what optimisers may need."""
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])

    def train(self, held: Sequence[HeldPixels], around: Surroundings, budget: Budget, check: Callable[[], None]) -> int:
        """Go on training; the head is left in evaluation mode.

        Args:
            held: pixels of each labelled row.
            around: what belongs to the rows.
            budget: when to end.
            check: called before each step; what it raises ends the training.

        Returns:
            Number of steps.
        """
        self.head.train()
        started, n_steps, progress = time.monotonic(), 0, 0.0
        try:
            while progress < 1:
                check()
                self._step(held, around, schedule(progress))
                n_steps += 1
                progress = budget.progress(time.monotonic() - started, n_steps)
        finally:
            self.head.eval()
        return n_steps

    @torch.no_grad()
    def text_gain(self, held: Sequence[HeldPixels], around: Surroundings) -> float:
        """Share of held pixels that the head has right with their texts, less that without any; of some rows."""
        rows = held[:: -(-len(held) // ROWS_PER_STEP)]
        right = []
        for shown in (1.0, 0.0):
            logits, labels = self._predictions(rows, around, shown, whole=True)
            right.append(float((logits.argmax(-1) == labels).float().mean()))
        return right[0] - right[1]

    def _step(self, held: Sequence[HeldPixels], around: Surroundings, rate: float) -> None:
        order = torch.randperm(len(held), generator=self._generator)[:ROWS_PER_STEP]
        logits, labels = self._predictions([held[i] for i in order.tolist()], around, 1 - TRIAL_DROPOUT)
        self._optimizer.param_groups[0]["lr"] = rate * SETTINGS.learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        segmentation_loss(logits.flatten(0, 1), labels.flatten(), around.ignore).backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), GuidedObjective.max_gradient_norm)
        self._optimizer.step()

    def _predictions(
        self, rows: Sequence[HeldPixels], around: Surroundings, texts_shown: float, *, whole: bool = False
    ) -> LabelledLogits:
        """Logits and labels of some pixels of each row.

        Args:
            rows: of one step.
            around: what belongs to them.
            texts_shown: share of rows whose text is shown.
            whole: show all blocks of activations; else some are hidden.
        """
        generator, channels, device = self._generator, around.channels, rows[0].features.device
        drawn = [row.draw(PIXELS_PER_STEP // len(rows), generator) for row in rows]
        features = torch.stack([row.features[i] for row, i in zip(rows, drawn, strict=True)])
        inputs = self.head.inputs(dict(zip(channels, features.split([*channels.values()], -1), strict=True)))
        if not whole and (shown := draw_shown(len(rows), self.head.spec.channels, generator)) is not None:
            inputs = inputs * shown.to(device)
        tokens, mask = around.texts([row.row for row in rows])
        read = torch.rand(len(rows), 1, generator=generator) < texts_shown
        pixels = torch.stack([row.pixels[i] for row, i in zip(rows, drawn, strict=True)]).to(device)
        labels = torch.stack([row.labels[i] for row, i in zip(rows, drawn, strict=True)]).to(device)
        regions = torch.tensor([around.region(row.row) for row in rows], device=device)
        with self.head.arithmetic(device):
            logits = self.head(inputs, pixels, around.size, tokens, mask & read.to(mask.device), regions=regions)
        return logits.float(), labels


def first_head(
    spec: HeadSpec,
    features: Mapping[MapKey, Float[Tensor, "pixel channel"]],
    seed: int,
    precision: Precision,
    device: str,
) -> PixelHead:
    """A head with initial weights, for activations with the origin and unit of a sample.

    Args:
        spec: the sizes.
        features: block → activations of a sample of pixels, labelled or not.
        seed: of the weights, which are those of `train-head`.
        precision: of the arithmetic.
        device: of the head.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(seed, "weights"))
        head = PixelHead(spec).to(device)
    for block, of_block in features.items():
        head.standardise(block, of_block)
    head.precision = precision
    return head.eval()
