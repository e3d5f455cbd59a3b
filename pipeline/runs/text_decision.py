"""Decision of `--text auto`: whether a head goes on with the texts, by samples whose groups it never learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..scoring.intervals import Interval
from ..scoring.paired import PairedDifference, paired_difference

LEAST_GROUPS = 6
"""With fewer the sign-flip test cannot give p < 0.05, whatever the differences."""


@dataclass(frozen=True)
class TextDecision:
    """Whether texts are used, and why."""

    used: bool
    epoch: int
    """After which it was made."""
    n_samples: int
    n_groups: int
    reason: str
    """In words."""
    dice_with: float | None = None
    """Mean over the held-out samples, each with its own text; this and what follows `None` where nothing was tried."""
    dice_without: float | None = None
    difference: float | None = None
    """Of the two."""
    interval: Interval | None = None
    """95 % bootstrap interval of the difference, over groups."""
    p_value: float | None = None
    """Of the sign-flip test over groups."""

    def line(self) -> str:
        """For the terminal and the report."""
        decision = f"texts are {'' if self.used else 'not '}used: {self.reason}"
        if self.difference is None:
            return decision
        interval = "" if self.interval is None else " [{:+.4f}, {:+.4f}]".format(*self.interval)
        return (
            f"{decision}. Dice {self.dice_with:.4f} with them and "
            f"{self.dice_without:.4f} without, {self.difference:+.4f}{interval}, p = {self.p_value:.2g}, on "
            f"{self.n_samples} held-out samples in {self.n_groups} groups after epoch {self.epoch}"
        )


def without_trial(groups: Sequence[str]) -> TextDecision | None:
    """The decision against the texts where held-out groups are too few to show anything; `None`: they are enough.

    Args:
        groups: of the held-out samples.
    """
    n = len({*groups})
    if n >= LEAST_GROUPS:
        return None
    reason = (
        f"{n} held-out group{'s' * (n != 1)} cannot show that they help, which takes {LEAST_GROUPS}, and the simpler "
        "head is taken (--text true uses them all the same)"
    )
    return TextDecision(used=False, epoch=0, n_samples=len(groups), n_groups=n, reason=reason)


def decide_on_texts(
    dice_with: Float[np.ndarray, "sample"], dice_without: Float[np.ndarray, "sample"], groups: Sequence[str], epoch: int
) -> TextDecision:
    """Decide for the texts where held-out groups leave no doubt that they help, else against them.

    Args:
        dice_with: of each held-out sample with its own text.
        dice_without: of the same samples without.
        groups: of the samples.
        epoch: number of finished epochs.
    """
    paired = paired_difference(dice_with - dice_without, groups)
    doubt = _doubt(paired)
    return TextDecision(
        used=not doubt,
        epoch=epoch,
        dice_with=float(dice_with.mean()),
        dice_without=float(dice_without.mean()),
        difference=paired.difference,
        interval=paired.interval,
        p_value=paired.p_value,
        n_samples=len(groups),
        n_groups=paired.n_groups,
        reason=doubt or "they help on held-out groups",
    )


def _doubt(paired: PairedDifference) -> str:
    """Why texts may not help; "": they do."""
    return paired.doubt if paired.difference > 0 else "they do not help on held-out groups"
