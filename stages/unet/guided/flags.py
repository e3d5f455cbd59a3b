"""guided-diffusion's own flags, as a JSON file has them: read, checked, and held against what the tensors tell.

Names, types and meanings are those of its training and sampling scripts (guided-diffusion, script_util.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ....errors import ConfigError
from .architecture import Architecture

Flags = Mapping[str, Any]


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(",")) if text else ()


def _is_list(value: object) -> bool:
    try:
        return isinstance(value, str) and all(number > 0 for number in _numbers(value))
    except ValueError:
        return False


_Kind = tuple[Callable[[Any], bool], str]
_COUNT: _Kind = (lambda value: type(value) is int and value >= 1, "a whole number from 1")
_COUNT_OR_NONE: _Kind = (lambda v: type(v) is int and (v == -1 or v >= 1), "a whole number from 1, or -1 for none")
_STEPS: _Kind = (lambda v: type(v) is int and v >= 20, "a whole number from 20 (fewer would need betas above 1)")
_YES_OR_NO: _Kind = (lambda value: type(value) is bool, "true or false")
_LIST: _Kind = (_is_list, 'numbers with commas between, such as "1,2,4"')
_SCHEDULE: _Kind = (lambda value: value in ("linear", "cosine"), '"linear" or "cosine"')
_RATE: _Kind = (lambda value: type(value) in (int, float), "a number")
_TEXT: _Kind = (lambda value: isinstance(value, str), "a text")

_KINDS = {
    "image_size": _COUNT,
    "num_channels": _COUNT,
    "num_res_blocks": _COUNT,
    "num_heads": _COUNT,
    "num_heads_upsample": _COUNT_OR_NONE,
    "num_head_channels": _COUNT_OR_NONE,
    "attention_resolutions": _LIST,
    "channel_mult": _LIST,
    "class_cond": _YES_OR_NO,
    "use_scale_shift_norm": _YES_OR_NO,
    "resblock_updown": _YES_OR_NO,
    "use_new_attention_order": _YES_OR_NO,
    "learn_sigma": _YES_OR_NO,
    "diffusion_steps": _STEPS,
    "noise_schedule": _SCHEDULE,
    "predict_xstart": _YES_OR_NO,
    "rescale_timesteps": _YES_OR_NO,
    # A frozen model in float32 computes the same whatever the following say.
    "dropout": _RATE,
    "use_checkpoint": _YES_OR_NO,
    "use_fp16": _YES_OR_NO,
    "timestep_respacing": _TEXT,
    "use_kl": _YES_OR_NO,
    "rescale_learned_sigmas": _YES_OR_NO,
}

_EMPTY_MULT = {512: (0.5, 1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}
"""What an empty channel_mult stands for, by image_size."""


def read_flags(path: Path, architecture: Architecture) -> Flags:
    """The flags in a JSON file; none of them has a default here.

    Raises:
        ConfigError: it is no JSON object; or flags are unknown, malformed, or contradict the tensors: all of those in
            one error.
    """
    try:
        flags = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as a JSON file of guided-diffusion's flags ({error})") from error
    if not isinstance(flags, dict):
        raise ConfigError(f"{path} holds no JSON object; expected guided-diffusion's flags, by name")
    usable = {flag: value for flag, value in flags.items() if flag in _KINDS and _KINDS[flag][0](value)}
    problems = [*_unusable(flags, usable), *_contradictions(usable, architecture)]
    if problems:
        raise ConfigError(
            "\n  - ".join([f"{path} does not fit, as guided-diffusion's flags for this checkpoint:", *problems])
        )
    return usable


def _unusable(flags: Flags, usable: Flags) -> Iterator[str]:
    unknown = [flag for flag in flags if flag not in _KINDS]
    if unknown:
        yield f"{', '.join(unknown)}: no such flag; guided-diffusion has {', '.join(_KINDS)}"
    for flag in flags:
        if flag in _KINDS and flag not in usable:
            yield f"{flag} got {json.dumps(flags[flag])}; expected {_KINDS[flag][1]}"


def _contradictions(flags: Flags, architecture: Architecture) -> Iterator[str]:
    """Lines for flags that say something else than the tensors, or cannot be compared with them."""
    facts = {
        "num_channels": architecture.model_channels,
        "num_res_blocks": architecture.n_res_blocks,
        "class_cond": architecture.n_classes is not None,
        "use_scale_shift_norm": architecture.scale_shift,
        "learn_sigma": architecture.learns_sigma,
    }
    if len(architecture.widths) > 1:
        facts["resblock_updown"] = architecture.resampling == "resnet"
    for flag, fact in facts.items():
        if flags.get(flag, fact) != fact:
            yield f"{flag} got {json.dumps(flags[flag])}; the tensors say {json.dumps(fact)}"
    yield from _wrong_widths(flags, architecture)
    yield from _wrong_attention(flags, architecture)


def _wrong_widths(flags: Flags, architecture: Architecture) -> Iterator[str]:
    if "channel_mult" not in flags or (not flags["channel_mult"] and "image_size" not in flags):
        return
    mult = _numbers(flags["channel_mult"]) or _EMPTY_MULT.get(flags["image_size"], ())
    if tuple(int(factor * architecture.model_channels) for factor in mult) != architecture.widths:
        fact = ",".join(f"{width / architecture.model_channels:g}" for width in architecture.widths)
        yield f"channel_mult got {json.dumps(flags['channel_mult'])}; the tensors say {json.dumps(fact)}"


def _wrong_attention(flags: Flags, architecture: Architecture) -> Iterator[str]:
    if "attention_resolutions" not in flags:
        return
    got, size = flags["attention_resolutions"], flags.get("image_size")
    if size is None:
        yield f"attention_resolutions got {json.dumps(got)}, which says nothing without image_size; give both or none"
        return
    factors = {size // int(resolution) for resolution in _numbers(got) if resolution >= 1}
    if tuple(2**level in factors for level in range(len(architecture.widths))) != architecture.attention:
        sides = [size >> level for level, attends in enumerate(architecture.attention) if attends]
        fact = ",".join(map(str, sides)) or "attention at no level"
        yield f"attention_resolutions got {json.dumps(got)} at image_size {size}; the tensors say {json.dumps(fact)}"
