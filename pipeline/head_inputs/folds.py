"""Cross-validation over groups: every fold holds out whole groups (patients), spread evenly over strata."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from ...cache.format.samples import SampleRow
from ...errors import DataError
from .splits import originals

Fold = tuple[tuple[SampleRow, ...], tuple[SampleRow, ...]]
"""(To train on, with all flips and rotations; held out, as they are.)"""


def divide(samples: Sequence[SampleRow], n_folds: int, seed: int, strata: Sequence[str] | None = None) -> list[Fold]:
    """Divide labelled samples into folds.

    Args:
        samples: rows of a cache.
        n_folds: how many.
        seed: of the division.
        strata: of the samples as they are, in their order; `None`: those that the manifest names. Where each has fewer
            samples than there are folds, there is nothing to spread.

    Returns:
        For each fold what to train on and what is held out.

    Raises:
        DataError: if there are fewer groups than folds.
    """
    shown = originals(samples)
    groups = [sample.group for sample in shown]
    if len({*groups}) < n_folds:
        raise DataError(f"{n_folds} folds need as many labelled groups to train on; the cache has {len({*groups})}")
    named = [sample.stratum for sample in shown] if strata is None else strata
    kinds = named if max(Counter(named).values()) >= n_folds else [""] * len(shown)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # of some strata there are fewer than folds
        held_groups = [
            {groups[place] for place in held} for _, held in splitter.split(np.zeros(len(shown)), kinds, groups)
        ]
    return [_fold(samples, held) for held in held_groups]


def _fold(samples: Sequence[SampleRow], held: set[str]) -> Fold:
    train = tuple(sample for sample in samples if sample.group not in held)
    return train, tuple(sample for sample in originals(samples) if sample.group in held)
