"""Items of stage two: equal bytes of trainings and their price, time of epochs, and the largest UNet to pretrain."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from devices import timed
from ground import FULL, Ground, NotHere, remove
from stage_one import digests_of
from train import compare

from textdiff import (
    ExtractConfig,
    FeatureReader,
    PretrainConfig,
    TrainConfig,
    Trainer,
    extract_features,
    pretrain_unet,
    train_head,
)

HEADS = ("pixel", "context", "paper")
ENSEMBLE = 8
PRETRAINING_S = 360.0
LADDER = (2, 4, None)
"""Numbers of labelled images; `None`: all."""


def training(ground: Ground, head: Any, run: Path, **settings: Any) -> TrainConfig:  # noqa: ANN401
    """Settings of a head on the labelled images."""
    text = "true" if FeatureReader(ground.cache).table.texts else "none"
    own: dict[str, Any] = {"text": text, "epochs": ground.scale.epochs, "device": ground.device, **ground.scale.head}
    return TrainConfig(ground.cache, run, head=head, **{**own, **settings})


def equal_bytes(ground: Ground) -> dict[str, Any]:
    """Two trainings of each head: whether their files are equal, and an epoch's price of algorithms that ensure it."""
    return {head: trained_twice(ground, head) for head in HEADS}


def trained_twice(ground: Ground, head: str) -> dict[str, Any]:
    """As `equal_bytes`, of one head."""
    config, found = training(ground, head, ground.work / "run"), []
    for _ in range(2):
        remove(config.run)
        train_head(config)
        found.append(digests_of(config.run))
    determined = epoch_s(ground, config)
    with undetermined():
        free = epoch_s(ground, config)
    return {
        "are_equal": found[0] == found[1],
        "different": sorted(name for name in found[0] if found[0][name] != found[1].get(name)),
        "epoch_s": determined,
        "epoch_s_without_determinism": free,
        "price": determined / free,
    }


def epoch_s(ground: Ground, config: TrainConfig) -> float:
    """Median seconds of an epoch, the first left out."""
    trainer = Trainer.from_config(config, FeatureReader(config.cache))
    return statistics.median([timed(trainer.run_epoch, ground.device)[1] for _ in range(config.epochs or 2)][1:])


@contextmanager
def undetermined() -> Iterator[None]:
    """Let torch and cuDNN take any algorithm, and cuDNN try which is quickest."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2:]


def epochs(ground: Ground) -> dict[str, Any]:
    """Seconds an epoch of each head, and of eight `pixel` heads at once by those of one."""
    seconds = {head: epoch_s(ground, training(ground, head, ground.work / "run")) for head in HEADS}
    one = training(ground, "pixel", ground.work / "run")
    compared = compare(replace(one, ensemble=ENSEMBLE), one)
    return {
        "images": len(FeatureReader(ground.cache).split("train")),
        "epoch_s": seconds,
        "ensemble": ENSEMBLE,
        "ensemble_per_head": compared["ratio"],
    }


def pretraining(ground: Ground) -> dict[str, Any]:
    """The largest UNet that the time left pretrains well, up to six minutes, and the Dice of heads on its features."""
    seconds = min(PRETRAINING_S, 0.8 * ground.seconds_left)
    config, rates = largest(ground, seconds)
    steps = ground.scale.steps if ground.scale is not FULL else int(seconds * rates[-1])
    found = pretrain_unet(replace(config, out=ground.work / "pretrained", steps=steps))
    last = 2 * len(config.channels) - 1
    settings: dict[str, Any] = {"data": ground.images, "unet": f"diffusers:{found.out}"}
    settings |= {"blocks": (last - 3, last - 1), "image_size": config.image_size}
    extraction = ground.extraction("of-pretrained", 1, ground.scale.batches[0], filters=True, texts=False)
    extract_features(ExtractConfig(**{**vars(extraction), **settings}))
    own: dict[str, Any] = {"head": "context", "text": "none", "device": ground.device, **ground.scale.head}
    if ground.scale is not FULL:
        own["epochs"] = 1
    dice = {}
    for n in LADDER:
        run = TrainConfig(extraction.cache, ground.work / f"labels-{n or 'all'}", n_labelled=n, **own)
        dice[str(n or "all")] = train_head(run).summary.val_dice
    return {
        "channels": config.channels,
        "n_parameters": found.n_parameters,
        "steps_per_s": rates,
        "steps": found.steps,
        "seconds": found.seconds,
        "final_loss": found.final_loss,
        "val_dice_by_labels": dice,
    }


def largest(ground: Ground, seconds: float) -> tuple[PretrainConfig, list[float]]:
    """The largest UNet whose steps in this time suffice, and the steps/s of those tried.

    Raises:
        NotHere: if not even the smallest is trained well in this time.
    """
    side, chosen, rates = ground.scale.image_size * (2 if ground.scale is FULL else 1), None, []
    for place, channels in enumerate(ground.scale.channels):
        config = PretrainConfig(
            ground.images, ground.work / f"tried{place}", image_size=side, crop=min(64, side), channels=channels,
            steps=5, device=ground.device,
        )  # fmt: skip
        few, more = (
            pretrain_unet(replace(config, out=ground.work / f"tried{place}-{n}", steps=n)).seconds for n in (5, 15)
        )
        rate = 10 / max(more - few, 1e-3)
        if ground.scale is FULL and rate * seconds < ground.scale.steps:
            break
        chosen, rates = config, [*rates, rate]
    if chosen is None:
        raise NotHere(f"{seconds:.0f} s are too few for {ground.scale.steps} steps of the smallest UNet")
    return chosen, rates
