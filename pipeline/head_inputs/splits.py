"""Splits of a cache's samples: to train on, to choose the epoch by, to test on. Groups (patients) stay whole."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...cache.format.samples import SampleRow, parents
from ...cache.reader import FeatureReader
from ...errors import DataError
from ..config.training import TrainConfig
from .stratification import Stratum, order_groups, strata_of


@dataclass(frozen=True)
class Split:
    """Labelled samples, or labelled tiles of them, by their use."""

    train: tuple[SampleRow, ...]
    """With all cached views; the other parts are without augmentation."""
    val: tuple[SampleRow, ...]
    """Chooses the epoch; of a fold, is scored after the last one."""
    test: tuple[SampleRow, ...] = ()
    """Scored once, at the end."""
    val_is: str = "the validation split"
    """Origin of `val`, in words."""


def choose_split(reader: FeatureReader, config: TrainConfig) -> Split:
    """Choose by the cache's splits; hold training groups out where there is no validation split, or where asked to.

    Both draws are spread over strata (`strata_of`). What is held out depends on the seed and not on how many are
    trained on; of one seed, the N labelled groups are among the N + 1.

    Raises:
        DataError: if too few labelled groups are left to train on and to choose the epoch by.
    """
    labelled = [sample for sample in reader.samples if has_labels(reader, sample)]
    train = tuple(sample for sample in labelled if sample.split == "train")
    val, test = (tuple(s for s in originals(labelled) if s.split == name) for name in ("val", "test"))
    strata = strata_of(reader, originals(train)) if config.n_labelled or config.hold_out or not val else {}
    val_is = Split.val_is
    if config.hold_out or not val:
        of_train = hold_out(train, strata, config)
        train, val, val_is = of_train.train, of_train.val, of_train.val_is
        kept = {sample.group for sample in train}
        strata = {group: stratum for group, stratum in strata.items() if group in kept}
    if config.n_labelled is not None:
        if config.n_labelled > len(strata):
            raise DataError(
                f"--n-labelled got {config.n_labelled}; the cache has {len(strata)} labelled groups to train on"
            )
        kept = set(order_groups(strata, config.seed, cover=True)[: config.n_labelled])
        train = tuple(sample for sample in train if sample.group in kept)
    if not train or not val:
        raise DataError(
            f"the cache has {len(parents(labelled))} labelled samples, of which {len(parents(train))} to train on and "
            f"{len(parents(val))} to choose the epoch by; expected at least one of each (label more images of the "
            "train split)"
        )
    return Split(train, val, test, val_is)


def hold_out(train: Sequence[SampleRow], strata: Mapping[str, Stratum], config: TrainConfig) -> Split:
    """Divide labelled training samples: a share of the groups, spread over strata, chooses the epoch.

    Args:
        train: rows with all their views.
        strata: of their groups (`strata_of`).
        config: settings; `val_fraction` is the share, `seed` that of the draw.
    """
    n_held = max(1, round(config.val_fraction * len(strata)))
    held = set(order_groups(strata, config.seed, cover=False)[:n_held])
    return Split(
        tuple(sample for sample in train if sample.group not in held),
        tuple(sample for sample in originals(train) if sample.group in held),
        val_is=f"{n_held} training groups held out with seed {config.seed}",
    )


def divide_into_folds(
    samples: Sequence[SampleRow], n_folds: int, seed: int, strata: Sequence[str] | None = None
) -> list[Split]:
    """Divide labelled samples for cross-validation: each fold holds out other groups, spread evenly over strata.

    Args:
        samples: rows of a cache.
        n_folds: number of folds.
        seed: of the division.
        strata: of `originals(samples)`; `None`: those that the manifest names. Ignored where each has fewer samples
            than there are folds.

    Returns:
        For each fold the samples to train on, and in `val` those that are held out.

    Raises:
        DataError: if there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    rows = originals(samples)
    groups = [row.group for row in rows]
    if len({*groups}) < n_folds:
        raise DataError(f"{n_folds} folds need as many labelled groups to train on; the cache has {len({*groups})}")
    named = [row.stratum for row in rows] if strata is None else strata
    kinds = named if max(Counter(named).values()) >= n_folds else [""] * len(rows)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # of some strata there are fewer than folds
        held = [{groups[i] for i in out} for _, out in splitter.split(np.zeros(len(rows)), kinds, groups)]
    return [
        Split(
            tuple(sample for sample in samples if sample.group not in out),
            tuple(row for row in rows if row.group in out),
            val_is=f"{n_folds} folds of the training split",
        )
        for out in held
    ]


def originals(samples: Iterable[SampleRow]) -> tuple[SampleRow, ...]:
    """The rows without flips and rotations, which are those that are scored."""
    return tuple(sample for sample in samples if sample.view == 0)


def group_views(samples: Iterable[SampleRow], n_views: int) -> dict[str, tuple[SampleRow, ...]]:
    """Id of each row that is as it is → it and its other views among the first `n_views`, as `mean_over_views` wants.

    A sample lacks the views for which its text could not be rewritten.

    Raises:
        DataError: if the samples were cached in fewer views.
    """
    by_tile: dict[tuple[str, tuple[int, int]], dict[int, SampleRow]] = {}
    for sample in samples:
        if sample.view < n_views:
            by_tile.setdefault((sample.parent, sample.tile), {})[sample.view] = sample
    if by_tile and max(max(views) for views in by_tile.values()) < n_views // 2:
        raise DataError(
            f"--tta {n_views}: the cache does not have so many flips and rotations of these samples; add them: repeat "
            f"the `textdiff extract-features` command that made it with --views {n_views} --views-of all"
        )
    return {views[0].id: tuple(views[view] for view in sorted(views)) for views in by_tile.values()}


def has_labels(reader: FeatureReader, sample: SampleRow) -> bool:
    """Whether at least one pixel of the sample is labelled."""
    return sample.mask is not None and bool((reader.labels(sample.row) != reader.table.ignore).any())
