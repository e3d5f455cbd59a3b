"""Configurations of checkpoints: those that OpenAI published are known by their tensors, others need their flags.

Tensors do not tell heads, attention order and noise schedule, and a wrong guess would compute something else without
an error.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ....errors import ConfigError, SourceError
from .adm import empty_model
from .config import ADMConfig, Flags, check_config, read_flags
from .tensors import Shapes, expected_shapes

OWN = "own config"
_NEAR = 0.9
"""Share of equal tensors from which a checkpoint is taken for a damaged published one, and its differences listed."""

_HEADS = ("num_heads", "num_heads_upsample", "num_head_channels")
_REQUIRED = {
    "image_size": "side in pixels of the training images",
    "num_head_channels": "width of an attention head; or num_heads, where their number is fixed",
    "use_new_attention_order": "true or false",
    "noise_schedule": '"linear" or "cosine"',
    "diffusion_steps": "timesteps of the training, usually 1000",
}


def _published(image_size: int, **flags: Any) -> ADMConfig:  # noqa: ANN401
    common = {
        "num_channels": 256,
        "attention_resolutions": "32,16,8",
        "class_cond": True,
        "resblock_updown": True,
        "learn_sigma": True,
        "use_new_attention_order": False,
        "noise_schedule": "linear",
        "diffusion_steps": 1000,
    }
    return ADMConfig(image_size=image_size, **{**common, **flags})


# The flags stand in guided-diffusion's README. The LSUN models differ from the unconditional one in their dropout
# alone, which a frozen model does not use: the same function of other weights, so they share its configuration.
PUBLISHED = {
    "64x64_diffusion": _published(
        64,
        num_channels=192,
        num_res_blocks=3,
        num_head_channels=64,
        noise_schedule="cosine",
        use_new_attention_order=True,
    ),
    "128x128_diffusion": _published(128, num_heads=4),
    "256x256_diffusion": _published(256, num_head_channels=64),
    "256x256_diffusion_uncond or an LSUN model": _published(256, num_head_channels=64, class_cond=False),
    "512x512_diffusion": _published(512, num_head_channels=64),
}


def find_config(source: str, shapes: Shapes, path: Path | None) -> ADMConfig:
    """The configuration of a checkpoint.

    Args:
        source: what the user gave, for messages.
        shapes: name -> shape of every tensor, by guided-diffusion's names.
        path: a JSON file of guided-diffusion's flags, or None. They go before a published model's, flag by flag:
            somebody may have trained it on with another schedule.

    Raises:
        ConfigError: the file cannot be used, or its flags make no UNet.
        SourceError: it is no published model and flags are missing, or it is a model of another kind.
    """
    _refuse_other_kinds(source, shapes)
    likeness = {name: _likeness(shapes, config) for name, config in PUBLISHED.items()}
    nearest = max(likeness, key=likeness.__getitem__)
    if path is None and likeness[nearest] >= _NEAR:
        return PUBLISHED[nearest]
    flags = read_flags(path) if path else {}
    config = _changed(PUBLISHED[nearest], flags) if likeness[nearest] == 1 else _own(source, flags)
    if config.class_cond and shapes.get("label_emb.weight"):
        config = replace(config, n_classes=shapes["label_emb.weight"][0])
    if config.n_blocks > len(shapes):
        raise ConfigError(f"{source}: its flags make {config.n_blocks} decoder blocks; it has {len(shapes)} tensors")
    check_config(source, config)
    return config


def published_name(config: ADMConfig) -> str:
    """The published model of this configuration, or `own config`."""
    return next((name for name, published in PUBLISHED.items() if published == config), OWN)


def _refuse_other_kinds(source: str, shapes: Shapes) -> None:
    if not any(name.startswith("output_blocks.") for name in shapes):
        raise SourceError(f"{source}: it has no output_blocks, so it is a classifier or incomplete; expected a UNet")
    if shapes.get("input_blocks.0.0.weight", ())[1:2] == (6,):
        raise SourceError(
            f"{source}: it reads 6 channels, so it is an upsampling model, which needs a smaller image besides the "
            "noisy one; expected a model that reads images alone (3 channels)"
        )


def _likeness(shapes: Shapes, config: ADMConfig) -> float:
    """Share of equal names and shapes among all."""
    expected = expected_shapes(empty_model(config), config).items()
    return len(expected & shapes.items()) / len(expected | shapes.items())


def _changed(published: ADMConfig, flags: Flags) -> ADMConfig:
    """The published configuration with other flags; any about heads puts all published ones about heads aside."""
    no_heads = dict.fromkeys(_HEADS, -1) if any(flag in flags for flag in _HEADS) else {}
    return replace(published, **{**no_heads, **flags})


def _own(source: str, flags: Flags) -> ADMConfig:
    has_heads = flags.get("num_head_channels", -1) != -1 or flags.get("num_heads", -1) != -1
    missing = [flag for flag in _REQUIRED if not (has_heads if flag == "num_head_channels" else flag in flags)]
    if missing:
        summary = (
            f"{source}: its tensors are those of no published model; give a JSON file of guided-diffusion's flags "
            "(--config of convert-unet, --unet-config elsewhere) with all that differ from its defaults, and with:"
        )
        raise SourceError("\n  - ".join([summary, *(f"{flag}: {_REQUIRED[flag]}" for flag in missing)]))
    return ADMConfig(**flags)
