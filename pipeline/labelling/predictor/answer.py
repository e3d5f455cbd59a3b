"""The learner's answer at a time: a ridge regression, later a head beside it; of any row it gives probabilities.

A 1×1 projection commutes with bilinear interpolation: the regression projects each block's map to the classes at its
own resolution, and the maps of the classes, which are few, are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ....stages.features.sampling import Interpolation, MapKey, Maps, dense
from ....stages.heads.base import Head
from ....stages.heads.input import HeadInput
from ....stages.heads.ridge import Ridge, as_probabilities

PIXELS_AT_ONCE = 4096
"""That are turned to float32: all channels of an image fit no cache of a processor."""


@dataclass(frozen=True, eq=False)
class RidgeAnswer:
    """A ridge regression on the activations of all blocks side by side."""

    weights: Mapping[MapKey, Float[Tensor, "n_classes channel"]]
    bias: Float[Tensor, " n_classes"]

    @classmethod
    def of(cls, solved: Ridge, channels: Mapping[MapKey, int], device: str) -> RidgeAnswer:
        """The regression's weights, block by block.

        Args:
            solved: the weights of all channels, in float64.
            channels: block → its channels, in the order in which they lie side by side.
            device: where answers are given.
        """
        parts = solved.weight.float().to(device).split([*channels.values()], 1)
        return cls(dict(zip(channels, parts, strict=True)), solved.bias.float().to(device))

    def probabilities(self, features: Maps, size: tuple[int, int]) -> Float[Tensor, "n_classes y x"]:
        """Of every pixel of the label map.

        Args:
            features: of a row, as a head sees them.
            size: (y, x) of the label map.
        """
        answers = self.bias.expand(size[0] * size[1], -1).clone()
        projected = [self._projected(block, features) for block in self.weights]
        for map_ in (fine for fine in projected if fine.shape[:2] == size):
            answers += map_.flatten(0, 1)
        if coarse := [map_ for map_ in projected if map_.shape[:2] != size]:
            answers += Interpolation(coarse, size).at(slice(None))
        return as_probabilities(answers).T.unflatten(1, size)

    def _projected(self, block: MapKey, features: Maps) -> Float[Tensor, "y x n_classes"]:
        maps = torch.cat([dense(map_) for map_ in features[block]], -1)
        parts = maps.flatten(0, 1).split(PIXELS_AT_ONCE)
        return torch.cat([F.linear(part.float(), self.weights[block]) for part in parts]).unflatten(0, maps.shape[:2])


@dataclass(frozen=True, eq=False)
class Answer:
    """A ridge regression, a head, or both: then their probabilities are averaged."""

    number: int
    """Higher than that of earlier answers."""
    ridge: RidgeAnswer | None
    head: Head | None
    """In evaluation mode, and never changed."""
    ridge_share: float
    """Of the regression in the mean."""

    @torch.no_grad()
    def of_ridge(self, x: HeadInput) -> Float[Tensor, "n_classes y x"] | None:
        """Probabilities by the regression; `None`: there is none."""
        return None if self.ridge is None else self.ridge.probabilities(x.features, x.size)

    def of_head(self, x: HeadInput) -> Float[Tensor, "n_classes y x"] | None:
        """Probabilities by the head; `None`: there is none."""
        return None if self.head is None else self.head.segment(x).softmax(1).mean(0)

    def mean(
        self, of_ridge: Float[Tensor, "n_classes y x"] | None, of_head: Float[Tensor, "n_classes y x"] | None
    ) -> Float[Tensor, "n_classes y x"]:
        """Their mean by the regression's share; of one alone, this one."""
        if of_ridge is not None and of_head is not None:
            return of_head.lerp(of_ridge, self.ridge_share)
        both = of_ridge if of_head is None else of_head
        if both is None:
            raise AssertionError("an answer has a regression or a head")
        return both

    def probabilities(self, x: HeadInput) -> Float[Tensor, "n_classes y x"]:
        """Of every pixel of the label map, background first; they add up to 1."""
        return self.mean(self.of_ridge(x), self.of_head(x))
