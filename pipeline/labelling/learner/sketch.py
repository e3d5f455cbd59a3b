"""Many channels as few: each is added, with a random sign, to one of some buckets.

A ridge regression on thousands of channels would take minutes and gigabytes. The count sketch (Charikar 2002, ICALP;
Weinberger 2009, arXiv 0902.2206, as feature hashing) keeps inner products in the mean and costs one addition a channel;
a weight of a bucket is a weight of each of its channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ....stages.seeds import named_generator

MOST_CHANNELS = 768
"""Of a regression: two of 768 are solved for in 30 ms by one processor."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """Buckets of channels."""

    buckets: Int[Tensor, " channel"]
    factors: Float[Tensor, " channel"]
    """A sign over the channel's deviation, so that all count alike."""
    n_buckets: int

    @classmethod
    def of(cls, features: Float[Tensor, "pixel channel"], n_kept: int, seed: int) -> Sketch | None:
        """A sketch to at most `MOST_CHANNELS`; `None`: there are no more.

        Args:
            features: of a sample of pixels, for the channels' deviations.
            n_kept: last channels, which keep a bucket each.
            seed: of buckets and signs.
        """
        n_channels = features.shape[1]
        if n_channels <= MOST_CHANNELS:
            return None
        generator, n_mixed = named_generator(seed, "sketch"), MOST_CHANNELS - n_kept
        mixed = torch.randint(n_mixed, (n_channels - n_kept,), generator=generator)
        signs = torch.randint(2, (n_channels - n_kept,), generator=generator) * 2.0 - 1
        spread = features.float().std(0, correction=0).clamp(min=1e-4).cpu()
        factors = torch.cat([signs, torch.ones(n_kept)]) / spread
        return cls(torch.cat([mixed, torch.arange(n_mixed, MOST_CHANNELS)]), factors, MOST_CHANNELS)

    def apply(self, features: Float[Tensor, "pixel channel"]) -> Float[Tensor, "pixel bucket"]:
        """Sums of the channels of each bucket, on the CPU."""
        scaled = features.float().cpu() * self.factors
        return torch.zeros(len(features), self.n_buckets).index_add_(1, self.buckets, scaled)

    def weights(self, of_buckets: Float64[Tensor, "n_classes bucket"]) -> Float64[Tensor, "n_classes channel"]:
        """Weights of the channels that answer as these of the buckets."""
        return of_buckets[:, self.buckets] * self.factors.double()
