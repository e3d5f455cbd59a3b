"""How sure a head is of a target, as one number a pixel whose changes can be compared: its log odds.

The target is one class or several. Its log odds against all other classes are the difference of their log-sum-exps:
of two classes the difference of their logits, of many what a softmax makes of "this or not this".
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor


def log_odds(logits: Float[Tensor, "*member n_classes y x"], target: Sequence[int]) -> Float[Tensor, "*member y x"]:
    """Ln p / (1 - p) of the target in nats, p being its softmax probability.

    Args:
        logits: any range.
        target: class indices; at least one, and not all.
    """
    others = [place for place in range(logits.shape[-3]) if place not in target]
    ours, theirs = (logits[..., list(classes), :, :].logsumexp(-3) for classes in (target, others))
    return ours - theirs
