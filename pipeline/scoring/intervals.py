"""Bootstrap intervals and a paired permutation test over groups, never over samples or tiles.

Samples of one group (patient) resemble each other, so that only another group is another observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

N_DRAWS = 10_000
FEW_GROUPS = 5
"""With fewer groups than this, an interval means little."""
MAX_EXACT_FLIPS = 2**16
N_RANDOM_FLIPS = 100_000
MAX_BATCH_SIZE = 2_000_000
"""Draws times groups that are in memory at a time."""

Interval = tuple[float, float]


def bootstrap_intervals(
    statistic: Callable[[Int[np.ndarray, "draw group"]], Float[np.ndarray, "draw figure"]], n_groups: int, seed: int = 0
) -> list[Interval | None]:
    """95 % intervals of figures, over draws of as many groups as there are, with replacement.

    The percentiles are the expanded ones (Hesterberg 2015, The American Statistician 69(4), arXiv 1411.5279): plain
    ones are too narrow for few groups; these have the width of Student's interval where the mean is normal. Draws are
    given as counts, which sums over groups need (`scipy.stats.bootstrap` gives values, and cannot leave out nan).

    Args:
        statistic: gives the figures of each draw from how often each group was drawn; nan where it has none.
        n_groups: number of groups.
        seed: of the draws.

    Returns:
        An interval for each figure; `None` with fewer than two groups, or where no draw has a figure.
    """
    rng, n_batch = np.random.default_rng(seed), max(1, MAX_BATCH_SIZE // n_groups)
    figures = []
    for start in range(0, N_DRAWS, n_batch):
        drawn = rng.integers(0, n_groups, (min(n_batch, N_DRAWS - start), n_groups))
        cells = drawn + n_groups * np.arange(len(drawn))[:, None]
        figures.append(statistic(np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)))
    return [_expanded_percentiles(draws[~np.isnan(draws)], n_groups) for draws in np.concatenate(figures).T]


def mean_intervals(
    values: Float[np.ndarray, "sample figure"], groups: Sequence[str], seed: int = 0
) -> list[Interval | None]:
    """95 % intervals of the means over samples.

    Args:
        values: nan where a sample has no figure, which the mean leaves out.
        groups: of the samples.
        seed: of the draws.
    """
    sums, counts = (sum_by_group(array, groups) for array in (np.nan_to_num(values), ~np.isnan(values)))

    def means(drawn: Int[np.ndarray, "draw group"]) -> Float[np.ndarray, "draw figure"]:
        n = drawn @ counts
        return np.divide(drawn @ sums, n, out=np.full(n.shape, np.nan), where=n > 0)

    return bootstrap_intervals(means, len(sums), seed)


def sum_by_group(values: Float[np.ndarray, "sample *figure"], groups: Sequence[str]) -> Float[np.ndarray, "group *f"]:
    """Sums over the samples of each group, groups in the order of their names."""
    names, indices = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, indices, values)
    return sums


@dataclass(frozen=True)
class SignFlipTest:
    """Permutation test of paired differences."""

    p_value: float
    """Two-sided."""
    n_flips: int
    exact: bool
    """Whether every way to choose the signs was tried, not a random choice of them."""
    least_p_value: float
    """The lowest that this many groups can give."""


def sign_flip_test(differences: Float[np.ndarray, "group"], seed: int = 0) -> SignFlipTest:
    """Permutation test of paired differences: the signs of whole groups are flipped.

    Exact where there are at most 2^16 ways to choose the signs; else 100,000 random ones and the observed one.

    Args:
        differences: sum over the samples of each group.
        seed: of the random flips.
    """
    n_groups = len(differences)
    exact = 2**n_groups <= MAX_EXACT_FLIPS
    n_flips = 2**n_groups if exact else N_RANDOM_FLIPS + 1
    if n_groups == 1:
        return SignFlipTest(1.0, n_flips, exact, 1.0)
    from scipy.stats import permutation_test  # takes half a second to import

    shares = differences / (np.abs(differences).sum() or 1.0)
    test = permutation_test(
        (shares,),
        lambda flipped, axis: flipped.sum(axis).round(9),  # equal up to rounding is equal
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_flips if exact else N_RANDOM_FLIPS,
        batch=max(1, MAX_BATCH_SIZE // n_groups),
        random_state=np.random.default_rng(seed),
    )
    return SignFlipTest(float(test.pvalue), n_flips, exact, 2 / n_flips)


def _expanded_percentiles(figures: Float[np.ndarray, "draw"], n_groups: int) -> Interval | None:
    if n_groups < 2 or not len(figures):
        return None
    reach = math.sqrt(n_groups / (n_groups - 1)) * special.stdtrit(n_groups - 1, 0.975)
    tail = float(special.ndtr(-reach))
    low, high = np.quantile(figures, [tail, 1 - tail])
    return float(low), float(high)
