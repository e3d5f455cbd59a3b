"""The cells of an ablation: one head each, of a variant, a seed and a fold; what its result depends on; its training.

Cells of one seed and fold learn from the same pixels and read together (`SharedReads`).
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ...cache.format.digests import features_digest, labels_digest
from ...cache.format.samples import parents
from ...cache.format.spec import digest
from ...cache.reader import FeatureReader
from ...stages.heads.pixel import PixelHead
from ..config.ablation import AblateConfig
from ..config.serialising import to_dict
from ..config.training import TrainConfig
from ..head_inputs.folds import divide
from ..head_inputs.inputs import CachedFeatures, open_head_data
from ..head_inputs.splits import Split, choose_split, has_labels
from ..runs.run_config import PLACES
from ..training.trainer import Trainer
from .scheduler import round_robin
from .shared_reads import KEPT_BYTES, SharedHeadData, SharedReads
from .variants import Subset, Variant

MEMORY_BYTES = 2**30
"""For the heads that are trained side by side: weights, gradients, AdamW's moments and two finalists of each."""
COPIES_OF_A_HEAD = 6
NOT_IN_IDENTITY = ("cache", "run", "timesteps", "blocks", "text", "seed", "device", "resume")
"""Settings of a head that stand elsewhere in a cell's identity, or do not matter."""


@dataclass(frozen=True)
class Identity:
    """All that a cell's result depends on, the device's arithmetic aside."""

    blocks: Subset
    timesteps: Subset
    text: str
    seed: int
    fold: int
    n_folds: int
    """0: the split is that of `train-head`."""
    cache: Mapping[str, str]
    """Digests of what is read of the cache: features, texts and labels, of these samples."""
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingJob:
    """One head to be trained."""

    variant: Variant
    seed: int
    fold: int
    split: Split
    """Its `val` is scored. Without folds it chooses the epoch as well, as in `train-head`."""
    identity: Identity


@dataclass(frozen=True)
class Outcome:
    """A finished cell."""

    cell: TrainingJob
    dice: Mapping[str, float]
    """Sample → its Dice, the mean over foreground classes."""


Event = Outcome | float | None
"""Of a training: `None` after each step or image scored, the checked Dice after an epoch, the outcome last."""


def training_config(config: AblateConfig, variant: Variant, seed: int) -> TrainConfig:
    """What `train-head` would be told for the same head; filters are of no timestep and would make up for lacks."""
    return TrainConfig(
        config.cache,
        config.out / "run",
        timesteps=variant.timesteps,
        blocks=variant.blocks,
        text=variant.text,
        filters=False,
        seed=seed,
        epochs=config.epochs,
        device=config.device,
    )


class JobFactory:
    """Makes the cells of an ablation, and trains them.

    `group_of` has the group of each sample that is scored, and `scored_on` says in words which these are; `everything`
    and `device` are as given.

    Args:
        config: settings.
        reader: the open cache.
        everything: what the variants are parts of.
        device: where heads are trained.

    Raises:
        DataError: if there are too few labelled samples.
    """

    def __init__(self, config: AblateConfig, reader: FeatureReader, everything: Variant, device: str) -> None:
        self._config, self._reader, self.everything, self.device = config, reader, everything, device
        self._splits = {seed: self._divide(training_config(config, everything, seed)) for seed in config.seeds}
        splits = [*itertools.chain.from_iterable(self._splits.values())]
        self.group_of = {row.parent: row.group for split in splits for row in split.val}
        self.scored_on = f"{len(self.group_of)} images of {splits[0].val_is.partition(' with seed ')[0]}"

    def of(self, variants: Sequence[Variant]) -> list[TrainingJob]:
        """A cell for each variant, seed and fold; those that read together follow one another."""
        return [
            self._cell(variant, seed, fold, split)
            for seed, splits in self._splits.items()
            for fold, split in enumerate(splits)
            for variant in variants
        ]

    @property
    def n_epochs(self) -> int:
        """Epochs of one training."""
        return training_config(self._config, self.everything, self._config.seeds[0]).settings.epochs

    def _groups(self, cells: Sequence[TrainingJob]) -> Iterator[list[TrainingJob]]:
        """The cells in groups of one seed and fold, as many in each as may be in memory together."""
        for _, of_batch in itertools.groupby(cells, lambda cell: (cell.seed, cell.fold)):
            group = list(of_batch)
            at_once = max(1, MEMORY_BYTES // max(map(self._bytes_of_head, group)))
            yield from (group[start : start + at_once] for start in range(0, len(group), at_once))

    def train(self, cells: Sequence[TrainingJob]) -> Iterator[Event]:
        """Train cells side by side; those of one seed and fold read together."""
        return round_robin(map(self._trainings, self._groups(cells)), self.device)

    def _trainings(self, cells: Sequence[TrainingJob]) -> list[Iterator[Event]]:
        """Of cells of one seed and fold."""
        data = [self._data(cell.variant, cell.seed) for cell in cells]
        blocks, timesteps = {b for one in data for b in one.blocks}, {t for one in data for t in one.timesteps}
        n_groups_at_work = -(-torch.get_num_threads() // len(cells))
        everything = replace(data[0], blocks=tuple(sorted(blocks)), timesteps=tuple(sorted(timesteps)))
        reads = SharedReads(everything, KEPT_BYTES // n_groups_at_work)
        return [self._train(cell, SharedHeadData.of(each, reads)) for cell, each in zip(cells, data, strict=True)]

    def _bytes_of_head(self, cell: TrainingJob) -> int:
        settings = training_config(self._config, cell.variant, cell.seed)
        spec = self._data(cell.variant, cell.seed).head_spec(
            settings.settings.width, settings.n_heads, place=settings.place
        )
        with torch.device("meta"):
            return COPIES_OF_A_HEAD * sum(parameter.nbytes for parameter in PixelHead(spec).parameters())

    def _train(self, cell: TrainingJob, data: CachedFeatures) -> Generator[Event, None, None]:
        settings = training_config(self._config, cell.variant, cell.seed)
        fit = Trainer(data, cell.split.train, cell.split.val, settings)
        while fit.epoch < fit.n_epochs:
            for _ in fit.epoch_steps():
                yield None
            yield fit.history[-1][fit.learner.check_name]
        if self._config.folds is None:
            _, dice = yield from fit.finish_steps()
        else:
            dice = yield from fit.score_steps()
        yield Outcome(cell, dict(zip(parents(cell.split.val), dice.mean(-1).tolist(), strict=True)))

    def _cell(self, variant: Variant, seed: int, fold: int, split: Split) -> TrainingJob:
        settings = training_config(self._config, variant, seed)
        told = {name: value for name, value in to_dict(settings).items() if name not in NOT_IN_IDENTITY}
        digests = self._digests(variant, self._data(variant, seed), split)
        identity = Identity(
            variant.blocks,
            variant.timesteps,
            variant.text,
            seed,
            fold,
            self._config.folds or 0,
            digests,
            told | asdict(settings.settings) | {"places": PLACES},
        )
        return TrainingJob(variant, seed, fold, split, identity)

    def _digests(self, variant: Variant, data: CachedFeatures, split: Split) -> dict[str, str]:
        manifest, used = self._reader.manifest, (*split.train, *split.val)
        shown = [data.text_of[sample.id] for sample in used]
        texts = [None if place is None else self._reader.table.texts[place] for place in shown]
        encoder = manifest.texts and [manifest.texts.encoder_digest, manifest.texts.truncated, manifest.texts.dim]
        return {
            "features": features_digest(manifest, used, variant.pairs),
            "labels": labels_digest(manifest.classes, used),
            "texts": digest([encoder, texts]),
            "samples": digest([[(s.id, s.group, s.weight) for s in part] for part in (split.train, split.val)]),
        }

    def _data(self, variant: Variant, seed: int) -> CachedFeatures:
        return open_head_data(
            self._reader,
            blocks=variant.blocks,
            timesteps=variant.timesteps,
            text=variant.text,
            seed=seed,
            device=self.device,
            filters=False,
        )

    def _divide(self, settings: TrainConfig) -> list[Split]:
        if self._config.folds is None:
            return [choose_split(self._reader, settings)]
        labelled = [sample for sample in self._reader.split("train") if has_labels(self._reader, sample)]
        folds = divide(labelled, self._config.folds, settings.seed)
        return [Split(train, held, (), f"{len(folds)} folds of the training split") for train, held in folds]
