"""What the tensors of a guided-diffusion UNet cannot tell: heads, attention order, noise schedule.

It comes from a JSON file of guided-diffusion's own flags, or from the flags with which OpenAI's checkpoints were
published; those are recognised by their architecture. The file goes before the publication, flag by flag: somebody may
have trained a published model on with another schedule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ....errors import ConfigError, SourceError
from .architecture import Architecture
from .flags import Flags, read_flags

OWN = "own config"


@dataclass(frozen=True)
class Settings:
    """What the function depends on besides the tensors."""

    name: str
    """The published model, or `own config`."""
    head_channels: int | None
    """Width of every attention head; None where their number is fixed instead."""
    n_heads: int
    """Heads of each attention in the encoder and the middle; 0 where their width is fixed instead."""
    n_heads_up: int
    """Heads of each attention in the decoder; 0 as above."""
    new_attention_order: bool
    """Whether the rows of `qkv` go by q, k, v first and heads second; the legacy order is heads first."""
    noise_schedule: Literal["linear", "cosine"]
    """Betas by timestep."""
    diffusion_steps: int
    """Timesteps that it was trained on."""
    predicts_image: bool
    """Whether it predicts x_0 (predict_xstart) in place of the noise."""
    image_size: int | None
    """Side in pixels that it was trained at; None where nothing says so: it computes the same."""

    def head_width(self, channels: int, *, decoder: bool = False) -> int:
        """Width of a head in an attention over so many channels."""
        return self.head_channels or channels // (self.n_heads_up if decoder else self.n_heads)


@dataclass(frozen=True)
class Preset:
    """A published model: recognised by its architecture, it needs these flags."""

    name: str
    architecture: Architecture
    flags: Flags


def _published(name: str, size: int, channels: int, mult: tuple[float, ...], **flags: Any) -> Preset:  # noqa: ANN401
    """One of OpenAI's: all learn sigma, scale and shift, resample by residual blocks and attend at 32, 16 and 8."""
    architecture = Architecture(
        in_channels=3,
        out_channels=6,
        model_channels=channels,
        widths=tuple(int(channels * factor) for factor in mult),
        n_res_blocks=flags.pop("num_res_blocks", 2),
        attention=tuple(size >> level in (32, 16, 8) for level in range(len(mult))),
        scale_shift=True,
        resampling="resnet",
        n_classes=1000 if flags.pop("class_cond", True) else None,
    )
    defaults = {"use_new_attention_order": False, "noise_schedule": "linear", "diffusion_steps": 1000}
    return Preset(name, architecture, {"image_size": size, **defaults, **flags})


# The flags stand in guided-diffusion's README. The LSUN models differ from the unconditional one in their dropout
# alone, which a frozen model does not use: the same function of other weights, so they share its preset.
PRESETS = (
    _published(
        "64x64_diffusion",
        64,
        192,
        (1, 2, 3, 4),
        num_res_blocks=3,
        num_head_channels=64,
        noise_schedule="cosine",
        use_new_attention_order=True,
    ),
    _published("128x128_diffusion", 128, 256, (1, 1, 2, 3, 4), num_heads=4),
    _published("256x256_diffusion", 256, 256, (1, 1, 2, 2, 4, 4), num_head_channels=64),
    _published(
        "256x256_diffusion_uncond or an LSUN model",
        256,
        256,
        (1, 1, 2, 2, 4, 4),
        num_head_channels=64,
        class_cond=False,
    ),
    _published("512x512_diffusion", 512, 256, (0.5, 1, 1, 2, 2, 4, 4), num_head_channels=64),
)


def settle(source: str, architecture: Architecture, config: Path | None) -> Settings:
    """Find out what the tensors do not tell.

    Args:
        source: what the user gave, for messages.
        architecture: what the tensors do tell.
        config: a JSON file of guided-diffusion's flags, or None.

    Raises:
        ConfigError: the file cannot be used, or what it says does not fit the tensors.
        SourceError: neither the file nor a published model says all that is needed, or it needs what is not supported.
    """
    preset = next((preset for preset in PRESETS if preset.architecture == architecture), None)
    published = preset.flags if preset else {}
    flags = _over(published, read_flags(config, architecture) if config else {})
    _refuse_missing(source, flags)
    _refuse_rescaling(source, flags)
    settings = _settings(flags)
    _refuse_uneven_heads(settings, architecture)
    return replace(settings, name=preset.name) if preset and settings == _settings(published) else settings


def _over(published: Flags, given: Flags) -> dict[str, Any]:
    """Flags given go before published ones; any that is about heads puts all published ones about heads aside."""
    heads = ("num_heads", "num_head_channels", "num_heads_upsample")
    if any(flag in given for flag in heads):
        published = {flag: value for flag, value in published.items() if flag not in heads}
    return {**published, **given}


def _refuse_missing(source: str, flags: Flags) -> None:
    n_steps = flags.get("diffusion_steps", 1000)
    needed = {
        "num_head_channels": "width of an attention head; or num_heads, where their number is fixed",
        "use_new_attention_order": "true or false",
        "noise_schedule": '"linear" or "cosine"',
        "diffusion_steps": "timesteps that it was trained on, usually 1000",
        **({"rescale_timesteps": "true or false, with other than 1000 steps"} if n_steps != 1000 else {}),
    }
    has_heads = flags.get("num_head_channels", -1) != -1 or "num_heads" in flags
    missing = [flag for flag in needed if not (has_heads if flag == "num_head_channels" else flag in flags)]
    if missing:
        summary = (
            f"{source}: its tensors do not tell all, and it is no published model; give a JSON file of "
            "guided-diffusion's flags (--config of convert-unet, --unet-config elsewhere) that says also:"
        )
        raise SourceError("\n  - ".join([summary, *(f"{flag}: {needed[flag]}" for flag in missing)]))


def _refuse_rescaling(source: str, flags: Flags) -> None:
    if flags.get("rescale_timesteps") and flags["diffusion_steps"] != 1000:
        raise SourceError(
            f"{source}: rescale_timesteps with {flags['diffusion_steps']} diffusion_steps is not supported: it embeds "
            "fractions of timesteps; expected a model with 1000 steps, or without rescaling"
        )


def _settings(flags: Flags) -> Settings:
    head_channels = flags.get("num_head_channels", -1)
    n_heads = flags["num_heads"] if head_channels == -1 else 0
    n_heads_up = flags.get("num_heads_upsample", -1) if head_channels == -1 else 0
    return Settings(
        name=OWN,
        head_channels=None if head_channels == -1 else head_channels,
        n_heads=n_heads,
        n_heads_up=n_heads if n_heads_up == -1 else n_heads_up,
        new_attention_order=flags["use_new_attention_order"],
        noise_schedule=flags["noise_schedule"],
        diffusion_steps=flags["diffusion_steps"],
        predicts_image=flags.get("predict_xstart", False),
        image_size=flags.get("image_size"),
    )


def _refuse_uneven_heads(settings: Settings, architecture: Architecture) -> None:
    levels = zip(architecture.widths, architecture.attention, strict=True)
    widths = {architecture.widths[-1], *(width for width, attends in levels if attends)}
    if settings.head_channels is not None:
        told = f"num_head_channels {settings.head_channels}"
        uneven = [width for width in widths if width % settings.head_channels]
    else:
        told = f"num_heads {settings.n_heads}, in the decoder {settings.n_heads_up}"
        uneven = [width for width in widths if width % settings.n_heads or width % settings.n_heads_up]
    if uneven:
        raise ConfigError(
            f"{told}: attentions of {', '.join(map(str, sorted(uneven)))} channels cannot be parted into such heads; "
            "expected divisors of those numbers"
        )
