"""Cross-validation over groups, for comparisons of caches and heads on few images.

Every fold holds out whole groups (patients), spread over strata (organs) as evenly as can be. A head is trained for
a fixed number of epochs and scored as it is then: the held-out images choose nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from textdiff.components import FeatureReader, SampleRow, Split, Trainer, divide_into_folds
from textdiff.config import TrainConfig

MONUSEG_ORGANS = {
    "breast": ("A7-A13E", "A7-A13F", "AR-A1AK", "AR-A1AS", "E2-A1B5", "E2-A14V"),
    "kidney": ("B0-5711", "HE-7128", "HE-7129", "HE-7130", "B0-5710", "B0-5698"),
    "liver": ("18-5592", "38-6178", "49-4488", "50-5931", "21-5784", "21-5786"),
    "prostate": ("G9-6336", "G9-6348", "G9-6356", "G9-6363", "CH-5767", "G9-6362"),
    "bladder": ("DK-A2I6", "G2-A2EK"),
    "colon": ("AY-A8YK", "NH-A8F7"),
    "stomach": ("KB-A93J", "RD-A8N9"),
}
"""Organ → site and patient in the TCGA ids of MoNuSeg's images (Kumar et al. 2017, table of the data set)."""


def organ(sample_id: str) -> str:
    """The organ of a MoNuSeg image; "unknown" for any other."""
    patient = "-".join(sample_id.split("-")[1:3])
    return next((name for name, patients in MONUSEG_ORGANS.items() if patient in patients), "unknown")


def originals(rows: Iterable[SampleRow]) -> tuple[SampleRow, ...]:
    """Rows without augmentation, which scores are of."""
    return tuple(row for row in rows if row.view == 0)


def has_labels(reader: FeatureReader, row: SampleRow) -> bool:
    """Whether at least one pixel of the row is labelled."""
    return row.mask is not None and bool((reader.labels(row.row) != reader.table.ignore).any())


def folds(samples: Sequence[SampleRow], n_folds: int, seed: int) -> list[Split]:
    """Each fold holds out other groups (`val`), MoNuSeg's organs spread over them."""
    return divide_into_folds(samples, n_folds, seed, [organ(sample.parent) for sample in originals(samples)])


def labelled(reader: FeatureReader) -> list[SampleRow]:
    """Rows of the training split that have a mask."""
    return [sample for sample in reader.split("train") if sample.mask is not None]


def cross_validate(reader: FeatureReader, config: TrainConfig, n_folds: int) -> dict[str, float]:
    """Image → Dice of the head that did not see its group. The seed divides the folds as well."""
    dice: dict[str, float] = {}
    for fold in folds(labelled(reader), n_folds, config.seed):
        dice |= dice_of_head(config, reader, fold)
    return dice


def dice_of_head(config: TrainConfig, reader: FeatureReader, split: Split) -> dict[str, float]:
    """Image of `split.val` → Dice, mean over foreground classes, of a head trained for all its epochs."""
    trainer = Trainer.from_config(config, reader, split)
    trainer.run()
    images = dict.fromkeys(row.parent for row in split.val)
    return dict(zip(images, trainer.validate().mean(-1).tolist(), strict=True))


def mean_with_interval(by_seed: Sequence[Mapping[str, float]], draws: int = 10_000) -> tuple[float, float, float]:
    """Mean over images of the mean over seeds, with the 95 % bootstrap interval over images."""
    names = sorted(by_seed[0])
    means = np.array([statistics.fmean(dice[name] for dice in by_seed) for name in names])
    picked = np.random.default_rng(0).integers(0, len(means), (draws, len(means)))
    low, high = np.quantile(means[picked].mean(1), [0.025, 0.975])
    return float(means.mean()), float(low), float(high)
