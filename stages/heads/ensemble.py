"""Heads of one kind that were trained side by side from different initial weights, and predict together.

Each is evaluated on its own, one after another: they share the reading and gathering of activations and, in training,
their standardisation. Stacking their weights for one `torch.func.vmap` took no less time on a CPU
(docs/decisions.md), and it holds the activations of all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..features.sampling import Maps
from ..precision import Precision
from .base import Head, Prepared
from .input import HeadInput


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

    @property
    def precision(self) -> Precision:
        """Of all members."""
        return self.members[0].precision

    @precision.setter
    def precision(self, precision: Precision) -> None:
        for member in self.members:
            member.precision = precision

    def prepare(self, features: Maps) -> Prepared:
        """As any of the members does."""
        return self.members[0].prepare(features)

    def segment_prepared(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "member n_classes y x"]:
        """Each member's own logits."""
        return torch.cat([member.segment_prepared(prepared, x) for member in self.members])

    @property
    def attention_names(self) -> tuple[str, ...]:
        """The members: an attention head of one looks for other things than the same head of another."""
        return tuple(f"member {i}" for i in range(1, len(self.heads) + 1))

    def attention_maps_prepared(
        self, prepared: Prepared, x: HeadInput, words: Float[Tensor, "token word"]
    ) -> Float[Tensor, "name word y x"]:
        """As `Head.attention_maps`, each member's mean over its own attentions."""
        each = [member.attention_maps_prepared(prepared, x, words).mean(0) for member in self.members]
        return torch.stack(each)


def ensemble_of(heads: Sequence[Head]) -> Head:
    """An ensemble of the heads; a single one stays as it is."""
    return heads[0] if len(heads) == 1 else Ensemble(heads)
