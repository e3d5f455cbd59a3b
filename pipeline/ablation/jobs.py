"""Training jobs of an ablation: one head each, of a variant, a seed and a fold."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ...cache.format.digests import features_digest, labels_digest
from ...cache.format.samples import parents
from ...cache.format.spec import digest
from ...cache.reader import FeatureReader
from ..config.ablation import AblateConfig
from ..config.training import TrainConfig
from ..config.values import to_dict
from ..head_inputs.splits import Split, choose_split, divide_into_folds, has_labels
from ..head_inputs.texts import assign_texts
from ..runtime.device import resolve_precision
from ..training.trainer import Trainer
from .variants import Variant

NOT_IN_IDENTITY = ("cache", "run", "device", "resume", "log")
"""Settings of a head that do not matter, or are represented by digests."""


@dataclass(frozen=True)
class TrainingJob:
    """One head to be trained, in this process or another one."""

    variant: Variant
    config: TrainConfig
    """Resolved: a worker need not know the defaults, the working directory or the meaning of `auto`."""
    split: Split
    """Its `val` is scored."""
    chooses_epoch: bool
    """Whether `val` chooses the epoch as well, as in `train-head`; else the head after the last epoch is scored."""
    identity: Mapping[str, Any]
    """Everything that the result depends on, the device's last bits aside."""


@dataclass(frozen=True)
class Outcome:
    """The result of a job."""

    job: TrainingJob
    dice: Mapping[str, float]
    """Sample → its Dice, the mean over foreground classes."""


def train_job(job: TrainingJob) -> Outcome:
    """Train a head, on one thread on the CPU, and score it; the result is the same bit for bit in any process."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = Trainer.from_config(job.config, FeatureReader(job.config.cache), job.split)
        trainer.run()
        dice = trainer.finish()[1] if job.chooses_epoch else trainer.validate()
    finally:
        torch.set_num_threads(n_threads)
    return Outcome(job, dict(zip(parents(job.split.val), dice.mean(-1).tolist(), strict=True)))


def training_config(config: AblateConfig, variant: Variant, seed: int) -> TrainConfig:
    """Settings of `train-head` for the same head."""
    return TrainConfig(
        config.cache,
        config.out / "run",
        head="pixel",
        timesteps=variant.timesteps or None,
        blocks=variant.blocks or None,
        text=variant.text,
        sources=variant.sources,
        filters=variant.filters,
        seed=seed,
        epochs=config.epochs,
        device=config.device,
    )


class JobFactory:
    """Makes the jobs of an ablation.

    `group_of` has the group of each sample that is scored; `scored_on` names them in words.

    Args:
        config: settings.
        reader: the open cache.
        everything: the union of the variants.
        device: name of the device on which heads are trained.

    Raises:
        DataError: if there are too few labelled samples.
    """

    def __init__(self, config: AblateConfig, reader: FeatureReader, everything: Variant, device: str) -> None:
        self._config, self._reader, self._device = config, reader, device
        self._splits = {seed: self._divide(training_config(config, everything, seed)) for seed in config.seeds}
        splits = [*itertools.chain.from_iterable(self._splits.values())]
        self.group_of = {row.parent: row.group for split in splits for row in split.val}
        self.scored_on = f"{len(self.group_of)} images of {splits[0].val_is.partition(' with seed ')[0]}"

    def jobs_of(self, variants: Sequence[Variant]) -> list[TrainingJob]:
        """A job for each variant, seed and fold."""
        return [
            self._job(variant, seed, fold, split)
            for seed, splits in self._splits.items()
            for variant in variants
            for fold, split in enumerate(splits)
        ]

    def _job(self, variant: Variant, seed: int, fold: int, split: Split) -> TrainingJob:
        config = training_config(self._config, variant, seed)
        resolved = replace(
            config,
            **asdict(config.settings),
            cache=config.cache.resolve(),
            device=self._device,
            precision=resolve_precision(config.precision, self._device),
        )
        identity = {
            "cache": self._digests(variant, seed, split),
            "fold": fold,
            "n_folds": self._config.folds,
            "settings": {name: value for name, value in to_dict(resolved).items() if name not in NOT_IN_IDENTITY},
        }
        return TrainingJob(variant, resolved, split, self._config.folds is None, identity)

    def _digests(self, variant: Variant, seed: int, split: Split) -> dict[str, str]:
        manifest, used = self._reader.manifest, (*split.train, *split.val)
        text_of = assign_texts(self._reader.table, variant.text, seed)
        texts = [None if (i := text_of[sample.id]) is None else self._reader.table.texts[i] for sample in used]
        encoder = manifest.texts and [manifest.texts.encoder_digest, manifest.texts.truncated, manifest.texts.dim]
        return {
            "features": features_digest(manifest, used, variant.pairs),
            "labels": labels_digest(manifest, used),
            "texts": digest([encoder, texts]),
            "samples": digest([[(s.id, s.group, s.weight) for s in part] for part in (split.train, split.val)]),
        }

    def _divide(self, settings: TrainConfig) -> list[Split]:
        if self._config.folds is None:
            return [choose_split(self._reader, settings)]
        labelled = [sample for sample in self._reader.split("train") if has_labels(self._reader, sample)]
        return divide_into_folds(labelled, self._config.folds, settings.seed)
