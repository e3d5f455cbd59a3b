"""Which samples a head learns from, and which choose its epoch. Groups (patients) are never divided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...cache.format.samples import SampleRow, parents
from ...cache.reader import FeatureReader
from ...errors import DataError
from ..config.training import TrainConfig
from .stratification import order_groups, strata_of


@dataclass(frozen=True)
class Split:
    """Labelled samples, or labelled tiles of them, by what they are for."""

    train: tuple[SampleRow, ...]
    """With all their flips and rotations; the others are as they are."""
    val: tuple[SampleRow, ...]
    """Chooses the epoch."""
    test: tuple[SampleRow, ...]
    """Scored once, at the end; may be empty."""
    val_is: str
    """Says in words where `val` comes from."""


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
    val_is = "the validation split"
    if config.hold_out or not val:
        n_held = max(1, round(config.val_fraction * len(strata)))
        held = set(order_groups(strata, config.seed, cover=False)[:n_held])
        val = tuple(sample for sample in originals(train) if sample.group in held)
        train = tuple(sample for sample in train if sample.group not in held)
        strata = {group: stratum for group, stratum in strata.items() if group not in held}
        val_is = f"{n_held} training groups held out with seed {config.seed}"
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


def originals(samples: Iterable[SampleRow]) -> tuple[SampleRow, ...]:
    """Without the flips and rotations: what scores are of."""
    return tuple(sample for sample in samples if sample.view == 0)


def group_views(samples: Iterable[SampleRow], n_views: int) -> dict[str, tuple[SampleRow, ...]]:
    """Id of each row that is as it is → it and its other views among the first `n_views`, as `mean_over_views` wants.

    A sample lacks the views for which its text could not be rewritten.

    Raises:
        DataError: if the samples were cached in fewer views.
    """
    found: dict[tuple[str, tuple[int, int]], dict[int, SampleRow]] = {}
    for sample in samples:
        if sample.view < n_views:
            found.setdefault((sample.parent, sample.tile), {})[sample.view] = sample
    if found and max(max(views) for views in found.values()) < n_views // 2:
        raise DataError(
            f"--tta {n_views}: the cache does not have so many flips and rotations of these samples; add them: repeat "
            f"the `textdiff extract-features` command that made it with --views {n_views} --views-of all"
        )
    return {views[0].id: tuple(views[view] for view in sorted(views)) for views in found.values()}


def has_labels(reader: FeatureReader, sample: SampleRow) -> bool:
    """Whether at least one pixel of the sample is labelled."""
    return sample.mask is not None and bool((reader.labels(sample.row) != reader.table.ignore).any())
