"""What `few_shot.py` compares, behind one signature: a task in, confusion counts of the scored images out.

No method sees the scored images before it is scored, and none chooses an epoch, a threshold or a setting by them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from pixel_baselines import FILTERS, PROBE, PixelBaseline, learn_pixels
from torch import Tensor

from textdiff.cache.format.samples import SampleRow
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.serialising import to_dict
from textdiff.pipeline.config.training import HeadKind, TextMode, TrainConfig
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.head_inputs.scoring import score_samples
from textdiff.pipeline.head_inputs.splits import Split, originals
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.metrics.overlap import confusion

CONDITIONS = ("cache", "run", "seed", "device", "resume")
"""Fields of a head's settings that stand elsewhere in a cell's identity, or do not matter."""


@dataclass(frozen=True)
class Task:
    """Learn from these samples, then segment those."""

    reader: FeatureReader
    train: Sequence[SampleRow]
    scored: Sequence[SampleRow]
    seed: int
    device: str


Counts = Int[Tensor, "scored label predicted"]


@dataclass(frozen=True)
class Method:
    """One line of the comparison."""

    run: Callable[[Task], Counts]
    settings: Callable[[], Mapping[str, Any]]
    """All that would change its results, ready for JSON."""
    random_features: bool = False
    """It is given the cache of `--random-cache`."""


def head(kind: HeadKind, text: TextMode, *, position: bool, random_features: bool = False) -> Method:
    """A head of ours with its default settings, as it is after its last epoch."""
    config = TrainConfig(Path(os.devnull), Path(os.devnull), head=kind, text=text, position=position)
    kept = {name: value for name, value in to_dict(config).items() if name not in CONDITIONS}
    return Method(partial(run_head, config), lambda: kept | asdict(config.settings), random_features)


def run_head(config: TrainConfig, task: Task) -> Counts:
    """Train for the fixed number of epochs; the scored samples are checked on the way and choose nothing."""
    config = replace(config, cache=task.reader.root, seed=task.seed, device=task.device)
    trainer = Trainer.from_config(config, task.reader, Split(tuple(task.train), tuple(task.scored)))
    trainer.run()
    return score_samples(trainer.head, trainer.data, task.scored)


def pixels(baseline: PixelBaseline) -> Method:
    """A scikit-learn classifier of single pixels."""
    return Method(partial(run_pixels, baseline), lambda: baseline.settings)


def run_pixels(baseline: PixelBaseline, task: Task) -> Counts:
    """Fit it on sampled pixels of the images as they are."""
    data = open_head_data(
        task.reader, blocks=None, timesteps=None, text="none", seed=task.seed, device="cpu", filters=False
    )
    predict = learn_pixels(baseline, data, originals(task.train), task.seed)
    return _count(task, predict)


def run_unet(task: Task) -> Counts:
    """Train a U-Net from scratch."""
    from unet_baseline import UNetRecipe, segment, train_unet

    train = originals(task.train)
    model = train_unet(
        [torch.tensor(task.reader.image(sample.row)) for sample in train],
        [torch.tensor(task.reader.labels(sample.row)) for sample in train],
        n_classes=_n_classes(task.reader),
        ignore=task.reader.table.ignore,
        recipe=UNetRecipe.for_images(task.reader.manifest.features.image_size),
        seed=task.seed,
        device=task.device,
    )
    return _count(task, lambda sample: segment(model, torch.tensor(task.reader.image(sample.row)), task.device))


def unet_settings() -> dict[str, Any]:
    """Of the U-Net."""
    from unet_baseline import UNetRecipe

    return asdict(UNetRecipe())


def _count(task: Task, predict: Callable[[SampleRow], Int[Tensor, "y x"]]) -> Counts:
    reader = task.reader
    return torch.stack([
        confusion(predict(sample), torch.tensor(reader.labels(sample.row)), _n_classes(reader), reader.table.ignore)
        for sample in task.scored
    ])  # fmt: skip


def _n_classes(reader: FeatureReader) -> int:
    return len(reader.manifest.classes["classes"])


def methods(*, position: bool = True) -> dict[str, Method]:
    """Name → method; with `position`, heads of ours have a positional encoding."""
    return {
        "head": head("pixel", "true", position=position),
        "head-no-text": head("pixel", "none", position=position),
        "context": head("context", "true", position=position),
        "context-no-text": head("context", "none", position=position),
        "linear-probe": pixels(PROBE),
        "rgb-filters": pixels(FILTERS),
        "random-unet": head("pixel", "true", position=position, random_features=True),
        "unet": Method(run_unet, unet_settings),
    }
