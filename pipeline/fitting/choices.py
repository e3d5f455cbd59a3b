"""Decisions of a fit, each a value (as JSON) and its reason: from the settings, the data and the machine."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...cache.reader import FeatureReader
from ..checking.result import DataReport
from ..config.extraction import ExtractConfig
from ..config.fitting import FitConfig
from ..config.presets import preset_settings
from ..config.unets import PretrainConfig
from ..config.validation import CommandConfig
from ..head_inputs.splits import has_labels, originals
from .defaults import IMAGE_ENCODER, TEXT_ENCODER, installed, typical_size

GIVEN, PRETRAIN, LEFT_OUT = "given", "pretrain", "left out"
PRETRAINING_SHARE = 1 / 3
"""Of the minutes."""
LEAST_STEPS, MOST_STEPS = 100, 3000
"""Of a pretraining to a given time: fewer learn next to nothing; more were not measured."""
EVALUATION_SHARE = 0.15
"""Of the minutes, kept back for evaluation and report."""
LEAST_MINUTES = 0.1
"""For training, where the steps before took them all."""


def of_preset(config: FitConfig, kind: type[CommandConfig]) -> dict[str, Any]:
    """Settings of a step that the fit's preset gives."""
    return preset_settings(config.preset, kind) if config.preset else {}


def choose_image_size(config: FitConfig, report: DataReport) -> tuple[Any, str]:
    """`--image-size`, the preset's, or the images' typical shorter side, within limits."""
    if config.image_size is not None:
        return config.image_size, "as given"
    if size := of_preset(config, ExtractConfig).get("image_size"):
        return size, f"of the preset {config.preset}"
    size, typical = typical_size([size for size, n in report.sizes.items() for _ in range(n)])
    return size, f"the shorter side of a typical one of {report.n_samples} images is {typical} pixels"


def choose_source(config: FitConfig) -> tuple[Any, str]:
    """Source of features: the models given, the packaged encoder, or `pretrain`."""
    if config.unet or config.encoder:
        return GIVEN, ", ".join(filter(None, (config.unet, *config.encoder)))
    if installed(IMAGE_ENCODER):
        return IMAGE_ENCODER, "no model was given, and this package is installed"
    return PRETRAIN, f"no model was given, and {IMAGE_ENCODER} is not installed (extra `encoders`)"


def choose_text_encoder(config: FitConfig, report: DataReport) -> tuple[Any, str]:
    """The encoder given or packaged, or texts are left out; `None`: there are none."""
    if not report.n_texts:
        return None, "the data have no texts"
    if config.text_encoder:
        return config.text_encoder, "as given"
    if installed(TEXT_ENCODER):
        return TEXT_ENCODER, f"{report.n_texts} texts, and this package is installed"
    return LEFT_OUT, f"of {report.n_texts} texts: {TEXT_ENCODER} is not installed (extra `demo`)"


def choose_steps(config: FitConfig, pretraining: PretrainConfig) -> tuple[Any, str]:
    """Steps of a pretraining: its default, or as many as its share of the minutes allows."""
    if config.minutes is None:
        return pretraining.steps, "the default"
    from ..unets.pretrain import seconds_per_step

    share_s, each_s = 60 * config.minutes * PRETRAINING_SHARE, seconds_per_step(pretraining)
    steps = min(MOST_STEPS, max(LEAST_STEPS, int(share_s / each_s)))
    return steps, f"of {each_s:.2f} s each, in a third of the minutes; from {LEAST_STEPS} to {MOST_STEPS}"


def choose_minutes(config: FitConfig, spent_s: float) -> tuple[Any, str]:
    """Minutes for training: those that are left, but for a share kept back for evaluation."""
    if config.minutes is None:
        return None, "each head once, however long it takes"
    spent = spent_s / 60
    left = round(max(config.minutes * (1 - EVALUATION_SHARE) - spent, LEAST_MINUTES), 2)
    return left, f"left of {config.minutes:g} after {spent:.1f} and some for evaluation"


def choose_split(reader: FeatureReader) -> tuple[Any, str]:
    """The split to evaluate on; `None`: no labelled samples but those of the training."""
    n = Counter(row.split for row in originals(reader.samples) if has_labels(reader, row))
    if n["test"]:
        return "test", f"{n['test']} labelled samples that nothing was chosen on"
    if n["val"]:
        return "val", f"no labelled test samples; these {n['val']} chose the epoch, so the figures are somewhat high"
    return None, "no labelled test or validation samples; those held out of training chose the epoch"
