"""What few groups can show: bootstrap intervals and a paired test. Groups are drawn, never samples or tiles.

Samples of one group (patient) resemble each other, so that only another group is another observation.
"""

from __future__ import annotations

import itertools
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
N_FLIPS = 100_000
_CELLS_AT_ONCE = 2_000_000

Interval = tuple[float, float]


def bootstrap_intervals(
    statistic: Callable[[Int[np.ndarray, "draw group"]], Float[np.ndarray, "draw figure"]], n_groups: int, seed: int = 0
) -> list[Interval | None]:
    """95 % intervals of figures, over draws of as many groups as there are, with replacement.

    The percentiles are the expanded ones (Hesterberg 2015, The American Statistician 69(4), arXiv 1411.5279): plain
    ones are too narrow for few groups; these have the width of Student's interval where the mean is normal.

    Args:
        statistic: gives the figures of each draw from how often each group was drawn; nan where it has none.
        n_groups: how many groups there are.
        seed: of the draws.

    Returns:
        An interval for each figure; `None` with fewer than two groups, or where no draw has a figure.
    """
    rng = np.random.default_rng(seed)
    per_chunk = max(1, _CELLS_AT_ONCE // n_groups)
    sizes = [min(per_chunk, N_DRAWS - start) for start in range(0, N_DRAWS, per_chunk)]
    draws = np.concatenate([statistic(_draw(rng, size, n_groups)) for size in sizes])
    return [_interval(figures[~np.isnan(figures)], n_groups) for figures in draws.T]


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
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, places, values)
    return sums


@dataclass(frozen=True)
class SignFlipTest:
    """Whether paired differences might as well have had other signs."""

    p_value: float
    """Two-sided."""
    n_flips: int
    exact: bool
    """Every way to choose the signs was tried, not a random choice of them."""
    least_p_value: float
    """The lowest that this many groups can give."""


def sign_flip_test(differences: Float[np.ndarray, "group"], seed: int = 0) -> SignFlipTest:
    """Permutation test of paired differences: the signs of whole groups are flipped.

    Exact where there are at most 2^16 ways to choose the signs; else 100,000 random ones and the one observed.

    Args:
        differences: sum over the samples of each group.
        seed: of the random flips.
    """
    n_groups = len(differences)
    exact = 2**n_groups <= MAX_EXACT_FLIPS
    if exact:
        extremes = _n_extremes(np.array(list(itertools.product((-1, 1), repeat=n_groups))), differences)
        n_flips = 2**n_groups
    else:
        rng, per_chunk = np.random.default_rng(seed), max(1, _CELLS_AT_ONCE // n_groups)
        sizes = [min(per_chunk, N_FLIPS - start) for start in range(0, N_FLIPS, per_chunk)]
        extremes = 1 + sum(_n_extremes(rng.choice((-1, 1), (size, n_groups)), differences) for size in sizes)
        n_flips = N_FLIPS + 1
    return SignFlipTest(extremes / n_flips, n_flips, exact, 2 / n_flips if exact else 1 / n_flips)


def _n_extremes(signs: Int[np.ndarray, "flip group"], differences: Float[np.ndarray, "group"]) -> int:
    """How many flips are at least as far from 0 as what was observed; equal up to rounding is equal."""
    slack = 1e-9 * float(np.abs(differences).sum())
    return int((np.abs(signs @ differences) >= abs(differences.sum()) - slack).sum())


def _draw(rng: np.random.Generator, n_draws: int, n_groups: int) -> Int[np.ndarray, "draw group"]:
    """How often each group is among `n_groups` drawn with replacement."""
    drawn = rng.integers(0, n_groups, (n_draws, n_groups)) + n_groups * np.arange(n_draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_draws * n_groups).reshape(n_draws, n_groups)


def _interval(figures: Float[np.ndarray, "draw"], n_groups: int) -> Interval | None:
    if n_groups < 2 or not len(figures):
        return None
    reach = math.sqrt(n_groups / (n_groups - 1)) * special.stdtrit(n_groups - 1, 0.975)
    tail = float(special.ndtr(-reach))
    low, high = np.quantile(figures, [tail, 1 - tail])
    return float(low), float(high)
