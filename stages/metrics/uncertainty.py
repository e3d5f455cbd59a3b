"""Uncertainty of a prediction, pixel by pixel, in nats.

Of an ensemble it is the mutual information of prediction and member (BALD: Houlsby 2011, arXiv 1112.5745), also known
as the members' Jensen-Shannon divergence (Baranchuk 2022, arXiv 2112.03126): the entropy of the mean minus the mean of
the entropies. It leaves out the uncertainty that all members share. A single head has no members that disagree: there
it is the entropy of its prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

UncertaintyKind = Literal["predictive_entropy", "mutual_information"]


def predictive_entropy(probabilities: Float[Tensor, "n_classes *pixel"]) -> Float[Tensor, "*pixel"]:
    """Entropy over classes in nats, in [0, ln n_classes].

    Args:
        probabilities: in [0, 1], adding up to 1 over classes.
    """
    return torch.special.entr(probabilities).sum(0)


def mutual_information(members: Float[Tensor, "member n_classes *pixel"]) -> Float[Tensor, "*pixel"]:
    """Mutual information of prediction and member in nats, in [0, ln min(members, n_classes)].

    Args:
        members: probabilities of each, in [0, 1], adding up to 1 over classes.
    """
    mean_entropy = torch.stack([predictive_entropy(member) for member in members]).mean(0)
    return (predictive_entropy(members.mean(0)) - mean_entropy).clamp(min=0)  # rounding may fall below 0


def mean_and_uncertainty(
    members: Float[Tensor, "member n_classes *pixel"],
) -> tuple[Float[Tensor, "n_classes *pixel"], Float[Tensor, "*pixel"]]:
    """Mean prediction and its uncertainty: mutual information of several members, predictive entropy of one.

    Args:
        members: probabilities of each, in [0, 1], adding up to 1 over classes.
    """
    mean = members.mean(0)
    kind = kind_of_uncertainty(len(members))
    return mean, mutual_information(members) if kind == "mutual_information" else predictive_entropy(mean)


def measures(members: Float[Tensor, "member n_classes *pixel"]) -> dict[UncertaintyKind, Float[Tensor, "*pixel"]]:
    """Every measure: the predictive entropy of the mean, and of several members their mutual information.

    Args:
        members: probabilities of each, in [0, 1], adding up to 1 over classes.
    """
    of_mean: dict[UncertaintyKind, Tensor] = {"predictive_entropy": predictive_entropy(members.mean(0))}
    return of_mean | ({"mutual_information": mutual_information(members)} if len(members) > 1 else {})


def kind_of_uncertainty(n_members: int) -> UncertaintyKind:
    """The measure that `mean_and_uncertainty` gives."""
    return "mutual_information" if n_members > 1 else "predictive_entropy"


def log_odds(logits: Float[Tensor, "*member n_classes y x"], target: Sequence[int]) -> Float[Tensor, "*member y x"]:
    """Log odds of a target of one class or several, ln p / (1 - p) in nats, p being its softmax probability.

    They are the difference of the log-sum-exps of the target's logits and all others; of two classes, of their logits.

    Args:
        logits: any range.
        target: class indices; at least one, and not all.
    """
    others = [i for i in range(logits.shape[-3]) if i not in target]
    of_target, of_others = (logits[..., list(classes), :, :].logsumexp(-3) for classes in (target, others))
    return of_target - of_others
