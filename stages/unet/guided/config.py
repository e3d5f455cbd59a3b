"""Configurations of guided-diffusion's UNets (ADM), by the flags of its own scripts, and JSON files of such flags."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from ....errors import ConfigError

N_GROUPS = 32
"""Groups of every normalisation (guided-diffusion, nn.py)."""

Flags = Mapping[str, Any]
_Count = Annotated[int, msgspec.Meta(ge=1, le=65536)]
_CountOrNone = Annotated[int, msgspec.Meta(ge=-1, le=65536)]
_Steps = Annotated[int, msgspec.Meta(ge=20, le=65536)]
_Counts = Annotated[str, msgspec.Meta(pattern=r"^([1-9]\d{0,4}(,[1-9]\d{0,4})*)?$")]
_Numbers = Annotated[str, msgspec.Meta(pattern=r"^(\d{1,3}(\.\d{1,9})?(,\d{1,3}(\.\d{1,9})?)*)?$")]

_DEFAULT_MULT = {512: "0.5,1,1,2,2,4,4", 256: "1,1,2,2,4,4", 128: "1,1,2,3,4", 64: "1,2,3,4"}
"""Meaning of an empty channel_mult, by image_size."""

_WITHOUT_EFFECT = (
    "dropout",
    "rescale_learned_sigmas",
    "timestep_respacing",
    "use_checkpoint",
    "use_fp16",
    "use_kl",
)
"""Flags that change nothing in a frozen model in float32."""

_FRACTIONS = "a model of fractions of timesteps is not supported"


@dataclass(frozen=True, kw_only=True)
class ADMConfig:
    """Architecture of a UNet of guided-diffusion: flags of its script_util.py.

    They have guided-diffusion's defaults where a wrong one would show in the tensors, and none where a wrong one would
    compute something else without an error.
    """

    image_size: _Count
    """Side in pixels of the training images; other sizes are computed in the same way."""
    num_channels: _Count = 128
    """Width of the sinusoidal time embedding, and of a level whose factor is 1."""
    num_res_blocks: _Count = 2
    """Residual blocks in each level of the encoder; the decoder has one more."""
    channel_mult: _Numbers = ""
    """Factor of each level's width, from full resolution down; empty: by the image size."""
    attention_resolutions: _Counts = "16,8"
    """Sides, in pixels, of the levels with attention."""
    class_cond: bool = False
    """Whether the model has an embedding of class labels."""
    n_classes: int = 1000
    """Rows of that embedding: a constant in guided-diffusion, no flag."""
    use_scale_shift_norm: bool = True
    """Whether the time embedding scales as well as shifts."""
    resblock_updown: bool = False
    """Whether residual blocks resample, in place of convolutions."""
    learn_sigma: bool = False
    """Whether the second half of the output interpolates the variance."""
    num_head_channels: _CountOrNone = -1
    """Width of every attention head; -1 where their number is fixed instead."""
    num_heads: _CountOrNone = -1
    """Heads of each attention, where their width is -1."""
    num_heads_upsample: _CountOrNone = -1
    """Heads of each attention in the decoder; -1: as `num_heads`."""
    use_new_attention_order: bool
    """Whether the rows of `qkv` go by q, k, v first and heads second; the legacy order is heads first."""
    noise_schedule: Literal["linear", "cosine"]
    """Betas by timestep."""
    diffusion_steps: _Steps
    """Timesteps of the training; fewer than 20 would make betas above 1."""
    rescale_timesteps: bool | None = None
    """Whether the model sees fractions of timesteps, where there are other than 1000."""
    predict_xstart: bool = False
    """Whether the model predicts x_0 in place of the noise."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from full resolution down."""
        factors = (self.channel_mult or _DEFAULT_MULT.get(self.image_size, "")).split(",")
        return tuple(int(self.num_channels * float(factor)) for factor in factors if factor)

    @property
    def attention(self) -> tuple[bool, ...]:
        """Whether each level has attention."""
        factors = {self.image_size // int(side) for side in self.attention_resolutions.split(",") if side}
        return tuple(2**level in factors for level in range(len(self.widths)))

    @property
    def n_blocks(self) -> int:
        """Decoder blocks, guided-diffusion's `output_blocks`; its `input_blocks` are as many."""
        return len(self.widths) * (self.num_res_blocks + 1)

    def decoder_block(self, number: int) -> tuple[int, int]:
        """Channels of a decoder block's output, and the ratio of the image's side to the output's."""
        from_deepest, i = divmod(number, self.num_res_blocks + 1)
        level = len(self.widths) - 1 - from_deepest
        is_upsampled = i == self.num_res_blocks and level > 0
        return self.widths[level], 2 ** (level - is_upsampled)

    def head_width(self, channels: int, *, decoder: bool = False) -> int:
        """Width of a head in an attention over so many channels."""
        if self.num_head_channels != -1:
            return self.num_head_channels
        return channels // (self.num_heads_upsample if decoder and self.num_heads_upsample != -1 else self.num_heads)


def read_flags(path: Path) -> Flags:
    """The flags in a JSON file, each of them well-formed, without those that have no effect.

    Raises:
        ConfigError: it is no JSON object; or flags are unknown or malformed: all of those in one error.
    """
    try:
        flags = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as a JSON file of guided-diffusion's flags ({error})") from error
    if not isinstance(flags, dict):
        raise ConfigError(f"{path} holds no JSON object; expected guided-diffusion's flags, by name")
    flags = {flag: value for flag, value in flags.items() if flag not in _WITHOUT_EFFECT}
    _refuse(f"{path} does not hold guided-diffusion's flags", _malformed(flags))
    return flags


def _malformed(flags: Flags) -> Iterator[str]:
    kinds = get_type_hints(ADMConfig, include_extras=True)
    del kinds["n_classes"]
    unknown = [flag for flag in flags if flag not in kinds]
    if unknown:
        yield f"{', '.join(unknown)}: no such flag; guided-diffusion has {', '.join((*kinds, *_WITHOUT_EFFECT))}"
    for flag, value in flags.items():
        try:
            msgspec.convert(value, kinds.get(flag, Any))
        except msgspec.ValidationError as error:
            yield f"{flag} got {json.dumps(value)}; {str(error).replace('Expected', 'expected')}"


def check_config(source: str, config: ADMConfig) -> None:
    """Refuse flags that make no UNet, or one whose timesteps cannot be given.

    Raises:
        ConfigError: all that is wrong with them.
    """
    _refuse(f"{source}: its flags make no UNet", _contradictions(config))


def _contradictions(config: ADMConfig) -> Iterator[str]:
    if not config.widths:
        yield f'channel_mult: none is known for image_size {config.image_size}; give one, such as "1,2,4"'
    uneven = [width for width in (config.num_channels, *config.widths) if width < 1 or width % N_GROUPS]
    if uneven:
        yield f"num_channels, channel_mult: widths of {_listed(uneven)} channels; expected multiples of {N_GROUPS}"
    attending = {width for width, attends in zip(config.widths, config.attention, strict=True) if attends}
    attending |= set(config.widths[-1:])  # the middle has attention always
    for flag, divisor in _head_divisors(config):
        undivided = [width for width in attending if divisor < 1 or width % divisor]
        if undivided:
            yield f"{flag} {divisor}: attentions of {_listed(undivided)} channels; expected a divisor of those numbers"
    if config.diffusion_steps != 1000 and config.rescale_timesteps is not False:
        got = json.dumps(config.rescale_timesteps)
        yield f"rescale_timesteps got {got} with {config.diffusion_steps} diffusion_steps; expected false: {_FRACTIONS}"


def _head_divisors(config: ADMConfig) -> Iterator[tuple[str, int]]:
    if config.num_head_channels != -1:
        yield "num_head_channels", config.num_head_channels
        return
    yield "num_heads", config.num_heads
    if config.num_heads_upsample != -1:
        yield "num_heads_upsample", config.num_heads_upsample


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _refuse(summary: str, problems: Iterable[str]) -> None:
    lines = list(problems)
    if lines:
        raise ConfigError("\n  - ".join([f"{summary}:", *lines]))
