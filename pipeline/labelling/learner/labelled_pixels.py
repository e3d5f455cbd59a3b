"""Activations of labelled pixels, held in memory: of a stroke only the new pixels are read from the cache.

Of each row and class at most `most_pixels` are held. Every pixel of a row has a rank, drawn with the seed, and those of
the lowest ranks are held: the choice is random, depends on the labels alone and not on the strokes' order, and changes
little when a stroke is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ....cache.format.layout import N_FILTERS
from ....cache.format.samples import SampleRow
from ....stages.heads.ridge import ClassMoments
from ....stages.seeds import named_generator
from ...head_inputs.inputs import CachedFeatures
from ...head_inputs.pixels import sample_everywhere
from .sketch import MOST_CHANNELS, Sketch

MOST_PIXELS, FEWEST_PIXELS, MOST_NUMBERS = 1000, 128, 2**20
"""Of a row and class: neighbours say nearly the same, and time and memory should not grow with what a polygon fills.
Where pixels have many channels fewer of them are held, down to the second, for so many numbers of a row and class."""
PIXELS_FOR_DEVIATIONS = 1000


@dataclass(frozen=True, eq=False)
class HeldPixels:
    """Labelled pixels of one row."""

    row: SampleRow
    pixels: Int[Tensor, " pixel"]
    """Positions in the flattened label map, ascending."""
    labels: UInt8[Tensor, " pixel"]
    features: Float[Tensor, "pixel channel"]
    """Activations of all blocks side by side, in the order of `CachedFeatures.map_keys`."""

    def draw(self, n: int, generator: torch.Generator) -> Int[Tensor, " drawn"]:
        """Indices of pixels, with replacement, evenly from the classes that are labelled."""
        labels = self.labels.long()
        return torch.multinomial(1 / labels.bincount()[labels], n, replacement=True, generator=generator)


class LabelledPixels:
    """All labelled pixels, and the sums over them that a ridge regression needs.

    Args:
        n_channels: of all blocks together.
        n_classes: background included.
        ignore: the label that means "not labelled".
        seed: of the pixels' ranks.
    """

    def __init__(self, n_channels: int, n_classes: int, ignore: int, seed: int) -> None:
        self._n_channels, self.n_classes, self._ignore, self._seed = n_channels, n_classes, ignore, seed
        self._held: dict[str, HeldPixels] = {}
        self.most_pixels = max(FEWEST_PIXELS, min(MOST_PIXELS, MOST_NUMBERS // n_channels))
        """Of a row and class."""
        self.moments = ClassMoments(min(n_channels, MOST_CHANNELS), n_classes)
        """Of the channels, or of a sketch of too many."""
        self.sketch: Sketch | None = None

    @property
    def rows(self) -> Mapping[str, HeldPixels]:
        """Id of a row → its pixels; rows without labels are left out."""
        return self._held

    @property
    def n_pixels(self) -> int:
        """Pixels that are held."""
        return sum(len(held.pixels) for held in self._held.values())

    @property
    def n_images(self) -> int:
        """Images with a labelled pixel."""
        return len({held.row.parent for held in self._held.values()})

    def update(self, data: CachedFeatures, row: SampleRow, labels: UInt8[Tensor, "y x"] | None) -> bool:
        """Hold a row's labelled pixels as they are now.

        Args:
            data: the cache as the head sees it.
            row: of the cache.
            labels: its label map; `None`: nothing is labelled.

        Returns:
            Whether anything changed.
        """
        before = self._held.pop(row.id, None)
        if self._n_channels > MOST_CHANNELS and not self._held and before is None:
            self.sketch = self._first_sketch(data, row)
        if labels is not None and len(pixels := self._chosen(row, labels.flatten())):
            self._held[row.id] = self._gathered(data, row, pixels, labels.flatten()[pixels], before)
        return self._count_change(before, self._held.get(row.id))

    def _first_sketch(self, data: CachedFeatures, row: SampleRow) -> Sketch | None:
        generator = named_generator(self._seed, "deviations")
        sample = sample_everywhere(data, [row], PIXELS_FOR_DEVIATIONS, generator)
        n_kept = N_FILTERS if data.filters else 0
        return Sketch.of(torch.cat([*sample.values()], -1), n_kept, self._seed)

    def _chosen(self, row: SampleRow, flat: UInt8[Tensor, " pixel"]) -> Int[Tensor, " pixel"]:
        labelled = (flat != self._ignore).nonzero().squeeze(1)
        if len(labelled) <= self.most_pixels:
            return labelled
        generator = named_generator(self._seed, "ranks", row.id)
        by_rank = labelled[torch.randperm(len(flat), generator=generator)[labelled].argsort()]
        of_classes = [by_rank[flat[by_rank] == label][: self.most_pixels] for label in range(self.n_classes)]
        return torch.cat(of_classes).sort().values

    @staticmethod
    def _gathered(
        data: CachedFeatures, row: SampleRow, pixels: Tensor, labels: Tensor, before: HeldPixels | None
    ) -> HeldPixels:
        """The pixels with their activations; those that were held before are not read again."""
        is_new = torch.ones(len(pixels), dtype=torch.bool)
        if before is not None:
            is_new = ~torch.isin(pixels, before.pixels)
        read = torch.cat([*data.gather(row, pixels[is_new]).values()], -1)
        features = read.new_empty(len(pixels), read.shape[1])
        features[is_new.to(read.device)] = read
        if before is not None:
            known = torch.searchsorted(before.pixels, pixels[~is_new])
            features[~is_new.to(read.device)] = before.features[known.to(read.device)]
        return HeldPixels(row, pixels, labels, features)

    def _count_change(self, before: HeldPixels | None, after: HeldPixels | None) -> bool:
        """Bring the sums up to date with the pixels that came, went or changed their class."""
        left, came = _without(before, after), _without(after, before)
        for held, which, sign in ((before, left, -1), (after, came, 1)):
            if held is not None and which.any():
                features = held.features[which.to(held.features.device)]
                features = self.sketch.apply(features) if self.sketch else features
                self.moments.add(features, held.labels[which], sign=sign)
        return bool(left.any() or came.any())


def _without(held: HeldPixels | None, others: HeldPixels | None) -> Tensor:
    """Which pixels the others lack, or have with another class."""
    if held is None:
        return torch.zeros(0, dtype=torch.bool)
    keys = held.pixels * 256 + held.labels
    return (
        torch.ones(len(keys), dtype=torch.bool)
        if others is None
        else ~torch.isin(keys, others.pixels * 256 + others.labels)
    )
