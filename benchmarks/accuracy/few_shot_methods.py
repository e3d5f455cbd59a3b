"""The methods that `few_shot.py` compares, behind one signature: a task in, Dice of the scored images out.

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
from folds import dice_of_head, folds, originals
from pixel_baselines import FILTERS, PROBE, PixelBaseline, learn_pixels
from scoring import dice_of_images, n_classes_of

from textdiff.components import FeatureReader, SampleRow, Split, Trainer, open_head_data
from textdiff.config import TrainConfig

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


Dice = dict[str, float]
"""Of each scored image, mean over foreground classes."""


@dataclass(frozen=True)
class Method:
    """One line of the comparison."""

    run: Callable[[Task], Dice]
    settings: Callable[[], Mapping[str, Any]]
    """Everything that its results depend on, ready for JSON."""
    random_features: bool = False
    """Whether it learns from the cache of `--random-cache`."""


Sources = tuple[str, ...] | None
"""Frozen models, as `train-head --sources` takes them; `None`: all that are cached."""
OF_SOURCES = ("head", "head-no-text", "context", "context-no-text", "linear-probe", "head-auto", "head-held-out")
"""Methods that learn from any set of sources."""
UNETS = ("unet", "unet-encoder")
"""Methods that are slow: networks of unet_baseline.py, which needs the extra `baselines`."""


def head(
    kind: Any,  # noqa: ANN401
    text: Any,  # noqa: ANN401
    *,
    random_features: bool = False,
    hold_out: bool = False,
    **options: Any,  # noqa: ANN401
) -> Method:
    """A head of ours after its last epoch, or with groups held out to choose; default settings but for the options."""
    config = TrainConfig(Path(os.devnull), Path(os.devnull), head=kind, text=text, **options)
    kept = {name: value for name, value in asdict(config).items() if name not in CONDITIONS}
    return Method(
        partial(run_held_out if hold_out else run_head, config), lambda: kept | asdict(config.settings), random_features
    )


def run_head(config: TrainConfig, task: Task) -> Dice:
    """Train for the fixed number of epochs; the scored samples are checked on the way and choose nothing."""
    config = replace(config, seed=task.seed, device=task.device)
    return dice_of_head(config, task.reader, Split(tuple(task.train), tuple(task.scored)))


def run_held_out(config: TrainConfig, task: Task) -> Dice:
    """Train on two thirds of the groups, and choose epoch and text by the others, as `train-head` does."""
    config = replace(config, seed=task.seed, device=task.device)
    trainer = Trainer.from_config(config, task.reader, folds(task.train, 3, task.seed)[0])
    trainer.run()
    trainer.finish()
    trainer.split = replace(trainer.split, val=tuple(task.scored))
    return dict(
        zip(dict.fromkeys(row.parent for row in task.scored), trainer.validate().mean(-1).tolist(), strict=True)
    )


def pixels(baseline: PixelBaseline, sources: Sources = None) -> Method:
    """A scikit-learn classifier of single pixels."""
    return Method(partial(run_pixels, baseline, sources), lambda: {**baseline.settings, "sources": sources})


def run_pixels(baseline: PixelBaseline, sources: Sources, task: Task) -> Dice:
    """Fit it on sampled pixels of the images without augmentation."""
    data = open_head_data(
        task.reader,
        blocks=None,
        timesteps=None,
        text="none",
        seed=task.seed,
        device="cpu",
        filters="filters" in (sources or ()),
        sources=sources,
    )
    return dice_of_images(task.reader, task.scored, learn_pixels(baseline, data, originals(task.train), task.seed))


def run_unet(name: str, task: Task) -> Dice:
    """Train a U-Net."""
    from unet_baseline import RECIPES, segment, train_unet

    train = originals(task.train)
    model = train_unet(
        [torch.tensor(task.reader.image(sample.row)) for sample in train],
        [torch.tensor(task.reader.labels(sample.row)) for sample in train],
        n_classes=n_classes_of(task.reader),
        ignore=task.reader.table.ignore,
        recipe=RECIPES[name].for_images(task.reader.manifest.features.image_size),
        seed=task.seed,
        device=task.device,
    )
    image = lambda row: torch.tensor(task.reader.image(row.row))  # noqa: E731
    return dice_of_images(task.reader, task.scored, lambda row: segment(model, image(row), task.device).numpy())


def unet_settings(name: str) -> dict[str, Any]:
    """Of a U-Net."""
    from unet_baseline import RECIPES

    return RECIPES[name].settings


def methods(*, sources: Sources = None, **options: Any) -> dict[str, Method]:  # noqa: ANN401
    """Name → method; the options are settings of our heads."""
    ours = partial(head, sources=sources, **options)
    return {
        "head": ours("pixel", "true"),
        "head-no-text": ours("pixel", "none"),
        "context": ours("context", "true"),
        "context-no-text": ours("context", "none"),
        "linear-probe": pixels(PROBE, sources),
        "rgb-filters": pixels(FILTERS),
        "random-unet": head("pixel", "true", random_features=True, **options),
        "head-auto": ours("pixel", "auto", hold_out=True),
        "head-held-out": ours("pixel", "none", hold_out=True),
        **{name: Method(partial(run_unet, name), partial(unet_settings, name)) for name in UNETS},
    }
