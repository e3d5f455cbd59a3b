"""Loss of a head: cross-entropy plus soft Dice, on labelled pixels only, some of which may count more.

The weights are TextDiff's (cross-entropy + 1.5 × Dice); its Dice is taken here on probabilities, not on raw logits.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

DICE_WEIGHT = 1.5


def segmentation_loss(
    logits: Float[Tensor, "pixel n_classes"],
    labels: Int[Tensor, "pixel"],
    ignore: int,
    weights: Float[Tensor, "pixel"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy + 1.5 × (1 - soft Dice), over weighted pixels.

    Args:
        logits: of the classes, background first.
        labels: class indices, or `ignore` for pixels that teach nothing.
        ignore: the value that means "not labelled".
        weights: above 0; a pixel of weight 2 is the same as that pixel twice. `None`: 1 for all.

    Returns:
        A scalar of at least 0; exactly 0 gradient from ignored pixels.
    """
    labelled = labels != ignore
    # A weight of 0 does what picking the labelled ones out would do, in less time than it takes to pick.
    weights = labelled.to(logits.dtype) if weights is None else weights * labelled
    labels = labels.long().where(labelled, 0)
    cross_entropy = (weights * F.cross_entropy(logits, labels, reduction="none")).sum() / weights.sum()
    return cross_entropy + DICE_WEIGHT * (1 - soft_dice(logits.softmax(-1), labels, weights))


def soft_dice(
    probabilities: Float[Tensor, "pixel n_classes"], labels: Int[Tensor, "pixel"], weights: Float[Tensor, "pixel"]
) -> Float[Tensor, ""]:
    """Dice of the foreground classes on the probabilities of weighted pixels, averaged; 1 is perfect.

    V-Net's form, with squares in the denominator (Milletari 2016, arXiv 1606.04797), smoothed by one pixel.
    """
    truth = F.one_hot(labels, probabilities.shape[-1]).to(probabilities.dtype)[:, 1:]
    foreground = probabilities[:, 1:]
    overlap = weights @ (foreground * truth)
    return ((2 * overlap + 1) / (weights @ (foreground.square() + truth) + 1)).mean()
