"""From labels to answers: held pixels, the ridge regression on them, and the head that goes on learning from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self, cast

from jaxtyping import UInt8
from torch import Tensor

from ....cache.format.samples import SampleRow
from ....cache.reader import FeatureReader
from ....stages.features.sampling import FILTERS, MapKey
from ....stages.heads.base import HeadSpec
from ....stages.heads.pixel import PixelHead
from ....stages.heads.ridge import Ridge
from ....stages.precision import Precision
from ....stages.seeds import named_generator
from ...config.training import TextMode, TrainConfig
from ...head_inputs.inputs import CachedFeatures, open_head_data
from ...head_inputs.pixels import sample_everywhere
from ...runtime.device import resolve_precision
from ..predictor.answer import Answer, RidgeAnswer
from ..predictor.texts import ShownTexts
from .head_training import SETTINGS, Budget, HeadTraining, Surroundings, first_head
from .initial_run import InitialRun, with_classes
from .labelled_pixels import LabelledPixels

PENALTY, PENALTY_OF_FILTERS = 30.0, 1.0
"""Of the ridge regressions on all channels and on the filters, for each pixel: pixels of a stroke are alike, so that
they count for far fewer. On MoNuSeg, cross-validated, the mean of both has a Dice of 0.68, 0.70, 0.69 and 0.71 after
4, 8, 16 and 32 strokes; that on all channels alone 0.55, 0.69, 0.64 and 0.73."""
WORTH = 12.0
"""Labelled images' worth of pixels at which the head counts as much as the regression. On MoNuSeg's full masks the best
of a quarter, a half and three quarters was three quarters with 1 and with 4 images, and a half with 16."""
TEXT_GAIN, SHARE_BESIDE_TEXTS = 0.1, 0.25
"""Where texts tell the classes of so many more pixels, the regression, which reads none, counts for a quarter."""
ROWS_FOR_STATISTICS, PIXELS_FOR_STATISTICS = 8, 1000
"""Rows whose pixels, labelled or not, give the origin and unit of the activations; pixels of each."""
SEED = 0


class LiveTrainer:
    """Learns from labels; used by one thread.

    Args:
        data: the cache as the head sees it.
        texts: of its images.
        text_of: gives a row's text; "": none.
        n_classes: background included.
        initial: a run to begin with; `None`: without.
    """

    def __init__(
        self,
        data: CachedFeatures,
        texts: ShownTexts,
        text_of: Callable[[SampleRow], str],
        n_classes: int,
        initial: InitialRun | None,
    ) -> None:
        self.data, self.texts, self._text_of = data, texts, text_of
        self._initial, self._number = initial, 0
        spec = data.head_spec(SETTINGS.width, TrainConfig.n_attention_heads, position=TrainConfig.position)
        self.spec: HeadSpec = replace(spec, n_classes=n_classes, text_dim=texts.text_dim)
        self.held = self._no_pixels()
        self.text_gain = 0.0
        """Share of the labelled pixels that the head has right with texts and not without."""
        self._ridge: RidgeAnswer | None = None
        self._training: HeadTraining | None = None
        if initial and (warm := initial.warm_head(n_classes)):
            self.spec, self._training = warm.spec, HeadTraining(warm, SEED)
        self._answered = initial.head if initial else None

    @classmethod
    def of_cache(cls, reader: FeatureReader, *, text: TextMode = "true", device: str = "cpu") -> Self:
        """A trainer on labels of a cache's rows under the texts that the cache has.

        Args:
            reader: the open cache.
            text: each row's own, none, or another's.
            device: where the head runs.
        """
        data = open_head_data(reader, blocks=None, timesteps=None, text=text, seed=SEED, device=device)

        def text_of(row: SampleRow) -> str:
            place = data.text_of[row.id]
            return "" if place is None else reader.table.texts[place]

        return cls(data, ShownTexts(data, reader.manifest.texts), text_of, data.n_classes, None)

    @property
    def can_learn(self) -> bool:
        """Whether two classes are labelled."""
        return self.held.moments.n_classes_seen > 1

    @property
    def is_known(self) -> bool:
        """Whether there is anything to answer with."""
        return self.can_learn or self._answered is not None

    @property
    def reads_any_text(self) -> bool:
        """Whether any of the labelled rows has a text."""
        return any(self._text_of(held.row) for held in self.held.rows.values())

    def fits(self, data: CachedFeatures, texts: ShownTexts) -> bool:
        """Whether what was learnt holds for other features and texts: those of a cache that has grown."""
        spec = data.head_spec(SETTINGS.width, TrainConfig.n_attention_heads, position=TrainConfig.position)
        return spec.channels == self.spec.channels and texts.text_dim == self.spec.text_dim

    def reopen(self, data: CachedFeatures, texts: ShownTexts) -> None:
        """Go on with a cache that has grown."""
        self.data, self.texts = data, texts

    def count_classes(self, n_classes: int) -> None:
        """Go on with more classes; pixels have to be given again."""
        self.spec = replace(self.spec, n_classes=n_classes)
        self.held, self._ridge = self._no_pixels(), None
        if self._training:
            self._training = HeadTraining(with_classes(self._training.head, n_classes), SEED)
            self._answered = copy.deepcopy(self._training.head)

    def hold(self, row: SampleRow, labels: UInt8[Tensor, "y x"] | None) -> bool:
        """Learn from these labels of a row from now on; says whether anything changed."""
        return self.held.update(self.data, row, labels)

    def solve(self) -> Answer:
        """The answer of the ridge regression, beside the head as it was."""
        if self.can_learn:
            self._ridge = RidgeAnswer.of(self._regression(), self._channels, self.data.device)
        else:
            self._ridge = None
        return self._answer()

    def train(
        self,
        rows: Sequence[SampleRow],
        *,
        seconds: float = math.inf,
        steps: int = 10**9,
        check: Callable[[], None] = lambda: None,
    ) -> Answer:
        """The answer after the head has learnt for a time.

        Args:
            rows: that are there, of which some give the activations' origin and unit.
            seconds: after which it ends.
            steps: of the optimiser, after which it ends, whichever is first.
            check: called before each step; what it raises ends the training, and the head keeps what it learnt.
        """
        if self._training is None:
            self._training = HeadTraining(self._first_head(rows), SEED)
        around = Surroundings(self._channels, self.data.size, self.data.ignore, self.data.region, self._tokens)
        held = [*self.held.rows.values()]
        self._training.train(held, around, Budget(seconds, steps), check)
        self.text_gain = self._training.text_gain(held, around) if self.reads_any_text else 0.0
        self._answered = copy.deepcopy(self._training.head)
        return self._answer()

    @property
    def _channels(self) -> dict[MapKey, int]:
        """Block → its channels, in the order in which held pixels have them; a run's head may have another."""
        return {block: self.spec.channels[block] for block in self.data.map_keys}

    def _regression(self) -> Ridge:
        """The regression on all channels; where some are filters, its mean with one on these."""
        n, moments, sketch = self.held.n_pixels, self.held.moments, self.held.sketch
        weight, bias = moments.solve(PENALTY * n, unshrunk=True)
        n_filters = self._channels.get(FILTERS, 0)
        if 0 < n_filters < weight.shape[1]:
            filters = slice(weight.shape[1] - n_filters, None)
            of_filters = moments.of(filters).solve(PENALTY_OF_FILTERS * n, unshrunk=True)
            weight[:, filters] += of_filters.weight
            weight, bias = weight / 2, (bias + of_filters.bias) / 2
        return Ridge(sketch.weights(weight) if sketch else weight, bias)

    def _answer(self) -> Answer:
        self._number += 1
        return Answer(self._number, self._ridge, self._answered, self._ridge_share())

    def _ridge_share(self) -> float:
        """Of the regression in the mean: less with more pixels, and little where texts decide."""
        n_images = self.held.n_pixels / (self.spec.n_classes * self.held.most_pixels)
        share = WORTH / (WORTH + n_images)
        return min(share, SHARE_BESIDE_TEXTS) if self.text_gain > TEXT_GAIN else share

    def _tokens(self, rows: Sequence[SampleRow]) -> tuple[Tensor, Tensor]:
        return self.texts.batch([self._text_of(row) for row in rows])

    def _no_pixels(self) -> LabelledPixels:
        return LabelledPixels(sum(self.spec.channels.values()), self.spec.n_classes, self.data.ignore, SEED)

    def _first_head(self, rows: Sequence[SampleRow]) -> PixelHead:
        generator = named_generator(SEED, "statistics")
        features = sample_everywhere(self.data, rows[:ROWS_FOR_STATISTICS], PIXELS_FOR_STATISTICS, generator)
        precision = cast("Precision", resolve_precision("auto", self.data.device))
        return first_head(self.spec, features, SEED, precision, self.data.device)
