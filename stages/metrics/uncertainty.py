"""How unsure a prediction is, pixel by pixel, in nats.

Of an ensemble it is how far its members disagree, the Jensen-Shannon divergence that ddpm-segmentation maps
(Baranchuk 2022, arXiv 2112.03126, its ensemble of pixel classifiers): the entropy of the mean minus the mean of the
entropies. It leaves out what every member is unsure of alike. A single head has nobody to disagree with: there it is
the entropy of the prediction itself.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

UncertaintyKind = Literal["divergence", "entropy"]


def entropy(probabilities: Float[Tensor, "n_classes *pixel"]) -> Float[Tensor, "*pixel"]:
    """Entropy over classes in nats, in [0, ln n_classes].

    Args:
        probabilities: in [0, 1], adding up to 1 over classes.
    """
    return torch.special.entr(probabilities).sum(0)


def divergence(members: Float[Tensor, "member n_classes *pixel"]) -> Float[Tensor, "*pixel"]:
    """Jensen-Shannon divergence of the members' predictions in nats, in [0, ln min(members, n_classes)].

    Args:
        members: probabilities of each, in [0, 1], adding up to 1 over classes.
    """
    mean_entropy = torch.stack([entropy(member) for member in members]).mean(0)
    return (entropy(members.mean(0)) - mean_entropy).clamp(min=0)  # rounding may fall below 0


def mean_and_uncertainty(
    members: Float[Tensor, "member n_classes *pixel"],
) -> tuple[Float[Tensor, "n_classes *pixel"], Float[Tensor, "*pixel"]]:
    """What a head says and how unsure it is: the divergence of several members, the entropy of one alone.

    Args:
        members: probabilities of each, in [0, 1], adding up to 1 over classes.
    """
    mean = members.mean(0)
    kind = kind_of_uncertainty(len(members))
    return mean, divergence(members) if kind == "divergence" else entropy(mean)


def measures(members: Float[Tensor, "member n_classes *pixel"]) -> dict[UncertaintyKind, Float[Tensor, "*pixel"]]:
    """Every measure that there is: the entropy of the mean, and of several members their divergence.

    Args:
        members: probabilities of each, in [0, 1], adding up to 1 over classes.
    """
    of_mean: dict[UncertaintyKind, Tensor] = {"entropy": entropy(members.mean(0))}
    return of_mean | ({"divergence": divergence(members)} if len(members) > 1 else {})


def kind_of_uncertainty(n_members: int) -> UncertaintyKind:
    """Which of the two measures `mean_and_uncertainty` gives."""
    return "divergence" if n_members > 1 else "entropy"
