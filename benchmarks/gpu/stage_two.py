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
from ground import Ground, remove
from record import NotHere
from stage_one import digests_of
from train import compare

from textdiff import extract_features, pretrain_unet, train_head
from textdiff.components import FeatureReader, Trainer
from textdiff.config import PretrainConfig, TrainConfig

HEADS = ("pixel", "context", "paper")
ENSEMBLE = 8
PRETRAINING_S, SHARE = 360.0, 0.5
"""At most, and of the time left: heads on its features are trained in the rest."""
LADDER = (None, 2, 4)
"""Numbers of labelled images; `None`: all."""


def training(ground: Ground, head: Any, run: Path, **settings: Any) -> TrainConfig:  # noqa: ANN401
    """Settings of a head on the labelled images."""
    text = "true" if FeatureReader(ground.cache).table.texts else "none"
    own: dict[str, Any] = {"text": text, "epochs": ground.scale.epochs, "device": ground.device, **ground.scale.head}
    return TrainConfig(ground.cache, run, head=head, **{**own, **settings})


def equal_bytes(ground: Ground) -> dict[str, Any]:
    """Two trainings of each head: whether their files are equal, an epoch's seconds, and the price of determinism."""
    n_images = len(FeatureReader(ground.cache).split("train"))
    return {"images": n_images, **{head: trained_twice(ground, head) for head in HEADS}}


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


def ensemble(ground: Ground) -> dict[str, Any]:
    """Seconds of an epoch of eight `pixel` heads at once, by those of one."""
    one = training(ground, "pixel", ground.work / "run")
    compared = compare(replace(one, ensemble=ENSEMBLE), one)
    return {name: compared[name] for name in ("heads", "epoch_s", "ratio", "ratio_per_head")}


def pretraining(ground: Ground) -> dict[str, Any]:
    """The largest UNet that the time left pretrains well, up to six minutes, and the Dice of heads on its features."""
    seconds = min(PRETRAINING_S, SHARE * ground.seconds_left)
    config, rates = largest(ground, seconds)
    steps = ground.scale.steps if ground.in_miniature else int(seconds * rates[-1])
    found = pretrain_unet(replace(config, out=ground.work / "pretrained", steps=steps))
    last = 2 * len(config.channels) - 1
    settings: dict[str, Any] = {"data": ground.images, "unet": f"diffusers:{found.out}"}
    settings |= {"blocks": (last - 3, last - 1), "image_size": config.image_size}
    extraction = ground.extraction("of-pretrained", 1, ground.scale.batches[0], filters=True, texts=False)
    extract_features(**{**vars(extraction), **settings})
    return {
        "channels": config.channels,
        "n_parameters": found.n_parameters,
        "steps_per_s": rates,
        "steps": found.steps,
        "seconds": found.seconds,
        "final_loss": found.final_loss,
        "val_dice_by_labels": ladder(ground, extraction.cache),
    }


def ladder(ground: Ground, cache: Path) -> dict[str, float]:
    """Dice of a `context` head on the validation images by labelled images, while the time suffices for another."""
    own: dict[str, Any] = {"head": "context", "text": "none", "device": ground.device, **ground.scale.head}
    dice, longest_s = dict[str, float](), 0.0
    for n in LADDER:
        if longest_s > ground.seconds_left:
            break
        run = ground.work / f"labels-{n or 'all'}"
        trained, seconds = timed(
            lambda n=n, run=run: train_head(cache, run, n_labelled=n, epochs=ground.scale.ladder_epochs, **own),
            ground.device,
        )
        dice[str(n or "all")], longest_s = trained.summary.val_dice, max(longest_s, 1.2 * seconds)
    return dice


def largest(ground: Ground, seconds: float) -> tuple[PretrainConfig, list[float]]:
    """The largest UNet whose steps in this time suffice, and the steps/s of those tried.

    Raises:
        NotHere: if not even the smallest is trained well in this time.
    """
    side, chosen, rates = ground.scale.image_size * (1 if ground.in_miniature else 2), None, []
    for place, channels in enumerate(ground.scale.channels):
        config = PretrainConfig(
            ground.images, ground.work / f"tried{place}", image_size=side, crop=min(64, side), channels=channels,
            steps=5, device=ground.device,
        )  # fmt: skip
        few, more = (
            pretrain_unet(replace(config, out=ground.work / f"tried{place}-{n}", steps=n)).seconds for n in (5, 15)
        )
        rate = 10 / max(more - few, 1e-3)
        if not ground.in_miniature and rate * seconds < ground.scale.steps:
            break
        chosen, rates = config, [*rates, rate]
    if chosen is None:
        raise NotHere(f"{seconds:.0f} s are too few for {ground.scale.steps} steps of the smallest UNet")
    return chosen, rates
