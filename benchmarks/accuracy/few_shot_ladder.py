"""The ladder of `few_shot.py`: which images each rung learns from and is scored on, and a record of what is finished.

A *cell* is one training: a method, N labelled groups, a seed and a fold. Its *identity* is all that its result depends
on, so that a cell is computed again when the cache, the protocol or the method's settings change, and only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from folds import folds

from textdiff.cache.format.samples import SampleRow
from textdiff.cache.reader import FeatureReader
from textdiff.errors import DataError
from textdiff.pipeline.head_inputs.splits import has_labels, originals
from textdiff.stages.seeds import named_generator

Protocol = Literal["cv", "val"]


@dataclass(frozen=True)
class Rung:
    """What one training learns from, and what it is scored on."""

    n: int
    """Labelled groups that were asked for."""
    seed: int
    fold: int
    train: tuple[SampleRow, ...]
    """All cached views of the images drawn; fewer than `n` groups where the fold has no more."""
    scored: tuple[SampleRow, ...]
    """Labelled images as they are, of other groups than those in `train`."""

    @property
    def n_groups(self) -> int:
        """Groups learnt from."""
        return len({sample.group for sample in self.train})


def climb(
    reader: FeatureReader, ns: Sequence[int], seeds: Sequence[int], protocol: Protocol, n_folds: int
) -> Iterator[Rung]:
    """Every rung of the ladder, the fewest labels first.

    For one seed and fold, the images of a lower rung are among those of a higher one.

    Args:
        reader: the open cache.
        ns: numbers of labelled groups.
        seeds: each divides the folds and draws the groups in its own way.
        protocol: `cv` scores the training images in folds; `val` learns from them and scores the validation images.
        n_folds: for `cv`.

    Raises:
        DataError: if the cache has too few labelled groups for that.
    """
    divided = {seed: divide(reader, seed, protocol, n_folds) for seed in seeds}
    for n in ns:
        for seed, parts in divided.items():
            for fold, (pool, scored) in enumerate(parts):
                yield Rung(n, seed, fold, draw_groups(pool, n, seed), originals(scored))


def divide(
    reader: FeatureReader, seed: int, protocol: Protocol, n_folds: int
) -> list[tuple[Sequence[SampleRow], Sequence[SampleRow]]]:
    """(to draw from, to score) for each fold; `val` has one."""
    train, val = ([sample for sample in reader.split(name) if has_labels(reader, sample)] for name in ("train", "val"))
    n_groups, needed = len({sample.group for sample in train}), n_folds if protocol == "cv" else 1
    if n_groups < needed or (protocol == "val" and not val):
        raise DataError(
            f"{reader.root} has {n_groups} labelled groups to train on and {len(val)} labelled samples of the val "
            f"split; expected at least {needed} groups" + (" and 1 sample; give --split-for-report cv" * (not val))
        )
    if protocol == "val":
        return [(train, val)]
    return [(fold.train, fold.val) for fold in folds(train, n_folds, seed)]


def draw_groups(pool: Sequence[SampleRow], n: int, seed: int) -> tuple[SampleRow, ...]:
    """The samples of `n` groups; with a larger `n`, of these groups and others."""
    groups = sorted({sample.group for sample in pool})
    order = torch.randperm(len(groups), generator=named_generator(seed, "labelled groups")).tolist()
    drawn = {groups[place] for place in order[:n]}
    return tuple(sample for sample in pool if sample.group in drawn)


@dataclass(frozen=True)
class Identity:
    """What a cell's result depends on."""

    method: str
    n: int
    seed: int
    fold: int
    n_folds: int
    """1 where the validation split is scored."""
    protocol: Protocol
    cache: Mapping[str, str]
    """Digests of the features, labels, texts and samples."""
    settings: Mapping[str, Any]
    """The method's."""
