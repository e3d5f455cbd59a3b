"""Mean of paired differences with its interval and test over groups, and why it may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .intervals import Interval, SignFlipTest, mean_intervals, sign_flip_test, sum_by_group

LEVEL = 0.05


@dataclass(frozen=True)
class PairedDifference:
    """Difference between two figures of the same samples."""

    difference: float
    """Mean over samples."""
    interval: Interval | None
    """95 % bootstrap interval over groups; `None` with fewer than two groups."""
    test: SignFlipTest
    n_groups: int
    p_value: float
    """Of the test, corrected for the number of comparisons."""
    n_comparisons: int = 1

    @property
    def doubt(self) -> str:
        """Why the difference may be chance; "": it is significant."""
        if self.interval is None:
            return "one group alone shows nothing of how groups vary"
        if self.interval[0] <= 0 <= self.interval[1]:
            return "the interval includes 0"
        least = min(1.0, self.test.least_p_value * self.n_comparisons)
        if least > LEVEL:
            among = f" and {self.n_comparisons} comparisons" if self.n_comparisons > 1 else ""
            return f"with {self.n_groups} groups{among} the test cannot give less than p = {least:.2g}"
        return f"p is above {LEVEL}" if self.p_value > LEVEL else ""


def paired_difference(differences: Float[np.ndarray, "sample"], groups: Sequence[str]) -> PairedDifference:
    """Interval and test of a single comparison.

    Args:
        differences: one for each sample.
        groups: of the samples.
    """
    (interval,) = mean_intervals(differences[:, None], groups)
    test = sign_flip_test(sum_by_group(differences, groups))
    return PairedDifference(float(differences.mean()), interval, test, len({*groups}), test.p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several tests, corrected so that any false positive among them has the level's chance (Holm 1979).

    The k-th smallest of n is multiplied by n - k + 1, and none is below a smaller one.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected
