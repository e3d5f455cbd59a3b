"""Ridge regression of classes on channels from sums over pixels, to which pixels are added and from which they go.

The regression needs the pixels' numbers, sums and products alone: pixels that come or go change these, and solving for
the weights takes as long with a million pixels as with a hundred.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

LEAST_ANSWER = 1e-3
"""Of a class, before the answers are divided by their sum."""


class Ridge(NamedTuple):
    """A linear model: answers = weight · channels + bias."""

    weight: Float64[Tensor, "n_classes channel"]
    bias: Float64[Tensor, " n_classes"]


class ClassMoments:
    """Sums over the pixels of each class, in float64 on the CPU.

    Args:
        n_channels: of a pixel.
        n_classes: background included.
    """

    def __init__(self, n_channels: int, n_classes: int) -> None:
        self._counts: Float64[Tensor, " n_classes"] = torch.zeros(n_classes, dtype=torch.float64)
        self._sums = torch.zeros(n_classes, n_channels, dtype=torch.float64)
        self._products = torch.zeros(n_classes, n_channels, n_channels, dtype=torch.float64)

    @property
    def n_classes_seen(self) -> int:
        """Classes with pixels."""
        return int((self._counts > 0).sum())

    def add(self, features: Float[Tensor, "pixel channel"], labels: Int[Tensor, " pixel"], *, sign: int = 1) -> None:
        """Add pixels.

        Args:
            features: of any range, on any device.
            labels: class indices.
            sign: -1 takes pixels away that were added.
        """
        features, labels = features.cpu(), labels.cpu()  # not every device has float64
        for label in labels.unique().tolist():
            of_class = features[labels == label].double()
            self._counts[label] += sign * len(of_class)
            self._sums[label] += sign * of_class.sum(0)
            self._products[label].addmm_(of_class.T, of_class, alpha=sign)

    def of(self, channels: slice) -> ClassMoments:
        """The sums of some of the channels, as they are now."""
        part = ClassMoments(0, len(self._counts))
        part._counts = self._counts.clone()
        part._sums, part._products = self._sums[:, channels].clone(), self._products[:, channels, channels].clone()
        return part

    def solve(self, penalty: float, *, unshrunk: bool = False) -> Ridge:
        """The weights for which each class counts as much as any other, however few its pixels.

        Args:
            penalty: of the squared weights of channels with deviation 1, beside the squared errors of all pixels, so
                that it treats all channels alike.
            unshrunk: scale the weights so that the answers fit best, in which a penalty shrinks them towards the mean:
                no class wins elsewhere, but answers are as far apart as the classes are.
        """
        n, n_channels = self._counts.sum(), self._sums.shape[1]
        mean = self._sums.sum(0) / n
        variance = self._products.diagonal(dim1=1, dim2=2).sum(0) / n - mean.square()
        spread = variance.clamp(min=0).sqrt().clamp(min=1e-4)
        weights = n / (self._counts.clamp(min=1) * self.n_classes_seen)
        level = weights * self._counts / n
        centre = torch.einsum("k,kc->c", weights, self._sums) / n
        gram = torch.einsum("k,kcd->cd", weights, self._products).addr_(centre, centre, alpha=-float(n))
        # Σ w (x - centre) (truth - level): the first factors add up to 0, so that the level falls out.
        target = (weights[:, None] * (self._sums - self._counts[:, None] * centre)).T  # [channel, class]
        scaled = gram / torch.outer(spread, spread) + penalty * torch.eye(n_channels, dtype=gram.dtype)
        solved = torch.linalg.solve(scaled, target / spread[:, None]) / spread[:, None]
        if unshrunk:
            solved = solved * ((solved * target).sum() / (solved * (gram @ solved)).sum().clamp(min=1e-9))
        return Ridge(solved.T.contiguous(), level - centre @ solved)


def as_probabilities(answers: Float[Tensor, "*pixel n_classes"]) -> Float[Tensor, "*pixel n_classes"]:
    """A ridge regression's answers, those below 0 at nearly 0, divided by their sum."""
    answers = answers.clamp(min=LEAST_ANSWER)
    return answers / answers.sum(-1, keepdim=True)
