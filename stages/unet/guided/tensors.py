"""Where the tensors of a guided-diffusion UNet go in one of diffusers' parts.

Both have the same residual blocks, attentions and resamplings under other names, so the way is a table of names; only
an attention's `qkv` is more than renamed: it is cut into three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ....errors import SourceError
from .architecture import Architecture, Shapes

N_LISTED = 12
"""Differences of one kind that an error lists before it counts the rest."""

_SINGLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "qkv": "to_q", "proj_out": "to_out.0"}
"""`qkv` becomes `to_k` and `to_v` as well."""


def convert_state(
    source: str, state: Mapping[str, Tensor], model: nn.Module, architecture: Architecture, *, new_order: bool
) -> dict[str, Float[Tensor, "..."]]:
    """The model's state dict from a guided-diffusion one.

    Args:
        source: what the user gave, for messages.
        state: guided-diffusion's tensors by name, of any float dtype.
        model: a UNet of diffusers' parts and this architecture; its tensors give names and shapes alone.
        architecture: of both.
        new_order: whether `qkv` is laid out q, k, v first.

    Returns:
        Every tensor of the model in float32, in memory of its own.

    Raises:
        SourceError: tensors are missing, left over or of other shapes; all of them in one error.
    """
    places = _places(model, architecture)
    _refuse_differences(source, state, expected_shapes(model, architecture))
    converted: dict[str, Tensor] = {}
    for name, place in places.items():
        tensor = state[name].squeeze(-1) if _is_pointwise(name) else state[name]
        if ".qkv." in name:
            attention, _, kind = place.rpartition(".to_q.")
            n_heads = cast("Any", model.get_submodule(attention)).heads
            parts = _split_qkv(tensor, n_heads, new_order=new_order)
            converted |= {f"{attention}.to_{part}.{kind}": rows for part, rows in zip("qkv", parts, strict=True)}
        else:
            converted[place] = tensor
    return {name: _owned(tensor) for name, tensor in converted.items()}


def expected_shapes(model: nn.Module, architecture: Architecture) -> Shapes:
    """Names and shapes that guided-diffusion gives to the tensors of a model of diffusers' parts."""
    there = model.state_dict()
    shapes = {}
    for name, place in _places(model, architecture).items():
        first, *rest = there[place].shape
        thrice, last = 3 if ".qkv." in name else 1, (1,) if _is_pointwise(name) else ()
        shapes[name] = (thrice * first, *rest, *last)
    return shapes


def _split_qkv(
    tensor: Float[Tensor, "3*channels *in"], n_heads: int, *, new_order: bool
) -> tuple[Float[Tensor, "channels *in"], ...]:
    """Query, key and value of an attention (QKVAttention and QKVAttentionLegacy in guided-diffusion, unet.py)."""
    if new_order:
        return tensor.chunk(3)
    parts = tensor.unflatten(0, (n_heads, 3, -1))  # [heads, 3, head, ...]
    return tuple(parts[:, part].flatten(0, 1) for part in range(3))


def _owned(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _is_pointwise(name: str) -> bool:
    """Whether it is the weight of an attention's 1-d convolution, with a last axis of 1; diffusers has linear maps."""
    return name.endswith((".qkv.weight", ".proj_out.weight"))


def _places(model: nn.Module, architecture: Architecture) -> dict[str, str]:
    """guided-diffusion's name -> the model's name, for every tensor that the model has."""
    there = model.state_dict()
    pairs = {**_SINGLE, **dict(_modules(architecture))}
    named = {f"{old}.{kind}": f"{new}.{kind}" for old, new in pairs.items() for kind in ("weight", "bias")}
    return {old: new for old, new in named.items() if new in there}


def _modules(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Pairs of modules that may have tensors; those of an attention or resampling that is not there have none."""
    n_levels, per_level = len(architecture.widths), architecture.n_res_blocks + 1
    for level, place in ((level, place) for level in range(n_levels) for place in range(per_level)):
        down, up = f"down_blocks.{level}", f"up_blocks.{level}"
        encoder, decoder = (f"{part}_blocks.{level * per_level + place}" for part in ("input", "output"))
        if place:
            yield from _join(encoder, 0, f"{down}.resnets.{place - 1}", _RESNET)
            yield from _join(encoder, 1, f"{down}.attentions.{place - 1}", _ATTENTION)
        elif level:
            yield from _resampling(encoder, 0, f"down_blocks.{level - 1}.downsamplers.0", "op")
        yield from _join(decoder, 0, f"{up}.resnets.{place}", _RESNET)
        yield from _join(decoder, 1, f"{up}.attentions.{place}", _ATTENTION)
        if place == per_level - 1:
            has_attention = architecture.attention[n_levels - 1 - level]
            yield from _resampling(decoder, 1 + has_attention, f"{up}.upsamplers.0", "conv")
    yield from _join("middle_block", 0, "mid_block.resnets.0", _RESNET)
    yield from _join("middle_block", 1, "mid_block.attentions.0", _ATTENTION)
    yield from _join("middle_block", 2, "mid_block.resnets.1", _RESNET)


def _resampling(block: str, index: int, module: str, convolution: str) -> Iterator[tuple[str, str]]:
    yield from _join(block, index, module, _RESNET)
    yield from _join(block, index, module, {convolution: "conv"})


def _join(block: str, index: int, module: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{block}.{index}.{old}", f"{module}.{new}") for old, new in names.items())


def _refuse_differences(source: str, state: Mapping[str, Tensor], expected: Shapes) -> None:
    got = {name: tuple(tensor.shape) for name, tensor in state.items()}
    missing = [f"{name} {list(shape)}" for name, shape in expected.items() if name not in got]
    over = [f"{name} {list(shape)}" for name, shape in got.items() if name not in expected]
    wrong = [
        f"{name} got {list(got[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in got and got[name] != shape
    ]
    kinds = {"missing": missing, "left over": over, "of another shape": wrong}
    lines = [line for kind, found in kinds.items() for line in _listed(kind, found)]
    if lines:
        summary = f"{source}: its tensors do not make the UNet that most of them tell of ({len(expected)} tensors):"
        raise SourceError("\n  - ".join([summary, *lines]))


def _listed(kind: str, found: list[str]) -> Iterator[str]:
    yield from (f"{kind}: {line}" for line in found[:N_LISTED])
    if len(found) > N_LISTED:
        yield f"{kind}: {len(found) - N_LISTED} more ({len(found)} in all)"
