"""Heads of one kind that were trained side by side from different initial weights, and predict together.

Each is evaluated on its own, one after another: what they share is what comes before them, the reading, gathering and
standardising of activations. Stacking their weights for one `torch.func.vmap` took no less time on a CPU
(docs/decisions.md), and it holds the activations of all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..features.position import FULL_IMAGE, Region
from ..features.sampling import Maps
from .base import Head, Prepared


class Ensemble(Head):
    """Several heads of one kind and size, whose probabilities are averaged.

    Args:
        heads: at least one; they prepare activations alike, so that it is done once.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__(heads[0].spec)
        self.heads = nn.ModuleList(heads)

    @property
    def members(self) -> tuple[Head, ...]:
        """The heads."""
        return tuple(head for head in self.heads if isinstance(head, Head))

    def prepare(self, maps: Maps) -> Prepared:
        """As any of the members does."""
        return self.members[0].prepare(maps)

    def segment_prepared(
        self,
        prepared: Prepared,
        size: tuple[int, int],
        tokens: Float[Tensor, "token dim"],
        mask: Bool[Tensor, "token"],
        window: Region = FULL_IMAGE,
    ) -> Float[Tensor, "n_classes y x"]:
        """The logarithm of the members' mean probabilities, whose softmax is that mean."""
        each = [member.segment_prepared(prepared, size, tokens, mask, window) for member in self.members]
        return torch.stack(each).softmax(1).mean(0).log()

    @property
    def readings(self) -> tuple[str, ...]:
        """The members: what a head of one's attention looks for has nothing to do with the same head of another's."""
        return tuple(f"member {place}" for place in range(1, len(self.heads) + 1))

    def attend(
        self,
        prepared: Prepared,
        size: tuple[int, int],
        tokens: Float[Tensor, "token dim"],
        mask: Bool[Tensor, "token"],
        groups: Float[Tensor, "token group"],
        *,
        window: Region = FULL_IMAGE,
    ) -> Float[Tensor, "reading group y x"]:
        """As `Head.attend`, each member's mean over its own readings."""
        each = (member.attend(prepared, size, tokens, mask, groups, window=window).mean(0) for member in self.members)
        return torch.stack(list(each))


def ensemble_of(heads: Sequence[Head]) -> Head:
    """An ensemble of the heads; a single one stays as it is."""
    return heads[0] if len(heads) == 1 else Ensemble(heads)
