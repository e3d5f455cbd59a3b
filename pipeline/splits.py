"""Which samples a head learns from, and which choose its epoch. Groups (patients) are never divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..cache.reader import FeatureReader
from ..cache.table import SampleRow
from ..errors import DataError
from ..stages.seeds import named_generator
from .head_config import TrainConfig
from .scoring import parents


@dataclass(frozen=True)
class Split:
    """Labelled samples, or labelled tiles of them, by what they are for."""

    train: tuple[SampleRow, ...]
    val: tuple[SampleRow, ...]
    """Chooses the epoch."""
    test: tuple[SampleRow, ...]
    """Scored once, at the end; may be empty."""
    val_is: str
    """Says in words where `val` comes from."""


def choose_split(reader: FeatureReader, config: TrainConfig) -> Split:
    """Choose by the cache's splits; hold training groups out where there is no validation split, or where asked to.

    Raises:
        DataError: if too few labelled groups are left to train on and to choose the epoch by.
    """
    labelled = [sample for sample in reader.samples if has_labels(reader, sample)]
    train, val, test = (tuple(s for s in labelled if s.split == name) for name in ("train", "val", "test"))
    groups = _shuffled_groups(train, config.seed)
    val_is = "the validation split"
    if config.hold_out or not val:
        n_held = max(1, round(config.val_fraction * len(groups)))
        held, groups = set(groups[:n_held]), groups[n_held:]
        val = tuple(sample for sample in train if sample.group in held)
        val_is = f"{n_held} training groups held out with seed {config.seed}"
    if config.n_labelled is not None:
        if config.n_labelled > len(groups):
            raise DataError(
                f"--n-labelled got {config.n_labelled}; the cache has {len(groups)} labelled groups to train on"
            )
        groups = groups[: config.n_labelled]
    kept = set(groups)
    train = tuple(sample for sample in train if sample.group in kept)
    if not train or not val:
        raise DataError(
            f"the cache has {len(parents(labelled))} labelled samples, of which {len(parents(train))} to train on and "
            f"{len(parents(val))} to choose the epoch by; expected at least one of each (label more images of the "
            "train split)"
        )
    return Split(train, val, test, val_is)


def has_labels(reader: FeatureReader, sample: SampleRow) -> bool:
    """Whether at least one pixel of the sample is labelled."""
    return sample.mask is not None and bool((reader.labels(sample.row) != reader.table.ignore).any())


def _shuffled_groups(samples: Sequence[SampleRow], seed: int) -> list[str]:
    groups = sorted({sample.group for sample in samples})
    order = torch.randperm(len(groups), generator=named_generator(seed, "labelled groups")).tolist()
    return [groups[place] for place in order]
