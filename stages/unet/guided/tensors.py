"""Tensors of a guided-diffusion UNet, and the same of a model of diffusers' parts.

Both have the same residual blocks, attentions and resamplings under other names, so the way is a table of names; only
an attention's `qkv` is more than renamed: it is cut into three.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .config import ADMConfig

Shapes = Mapping[str, tuple[int, ...]]

N_LISTED = 12
"""Tensors of one kind that an error lists before it counts the rest."""

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


def convert_state(state: Mapping[str, Tensor], model: nn.Module, config: ADMConfig) -> dict[str, Float[Tensor, "..."]]:
    """The model's state dict from a guided-diffusion one.

    Args:
        state: guided-diffusion's tensors by name, of any float dtype, with the `expected_shapes`.
        model: the empty model of `config`; its tensors give names and shapes alone.
        config: of the checkpoint.

    Returns:
        Every tensor of the model in float32, in memory of its own.
    """
    converted: dict[str, Tensor] = {}
    for name, target in _targets(model, config).items():
        tensor = state[name].squeeze(-1) if _is_pointwise(name) else state[name]
        if ".qkv." in name:
            attention, _, kind = target.rpartition(".to_q.")
            n_heads = cast("Any", model.get_submodule(attention)).heads
            parts = _split_qkv(tensor, n_heads, new_order=config.use_new_attention_order)
            converted |= {f"{attention}.to_{part}.{kind}": rows for part, rows in zip("qkv", parts, strict=True)}
        else:
            converted[target] = tensor
    return {name: _owned(tensor) for name, tensor in converted.items()}


def expected_shapes(model: nn.Module, config: ADMConfig) -> Shapes:
    """Names and shapes that guided-diffusion gives to the tensors of an empty model."""
    tensors = model.state_dict()
    shapes = {}
    for name, target in _targets(model, config).items():
        first, *rest = tensors[target].shape
        n_parts, last = 3 if ".qkv." in name else 1, (1,) if _is_pointwise(name) else ()
        shapes[name] = (n_parts * first, *rest, *last)
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


def _targets(model: nn.Module, config: ADMConfig) -> dict[str, str]:
    """guided-diffusion's name -> the model's name, for every tensor of the model."""
    tensors = model.state_dict()
    pairs = {**_SINGLE, **dict(_modules(config))}
    named = {f"{old}.{kind}": f"{new}.{kind}" for old, new in pairs.items() for kind in ("weight", "bias")}
    return {old: new for old, new in named.items() if new in tensors}


def _modules(config: ADMConfig) -> Iterator[tuple[str, str]]:
    """Pairs of modules that may have tensors; an attention or resampling that the model lacks has none."""
    n_levels, per_level = len(config.widths), config.num_res_blocks + 1
    for level, i in itertools.product(range(n_levels), range(per_level)):
        down, up = f"down_blocks.{level}", f"up_blocks.{level}"
        encoder, decoder = (f"{part}_blocks.{level * per_level + i}" for part in ("input", "output"))
        if i:
            yield from _join(encoder, 0, f"{down}.resnets.{i - 1}", _RESNET)
            yield from _join(encoder, 1, f"{down}.attentions.{i - 1}", _ATTENTION)
        elif level:
            yield from _join(encoder, 0, f"down_blocks.{level - 1}.downsamplers.0", _RESNET | {"op": "conv"})
        yield from _join(decoder, 0, f"{up}.resnets.{i}", _RESNET)
        yield from _join(decoder, 1, f"{up}.attentions.{i}", _ATTENTION)
        if i == per_level - 1:
            has_attention = config.attention[n_levels - 1 - level]
            yield from _join(decoder, 1 + has_attention, f"{up}.upsamplers.0", _RESNET | {"conv": "conv"})
    yield from _join("middle_block", 0, "mid_block.resnets.0", _RESNET)
    yield from _join("middle_block", 1, "mid_block.attentions.0", _ATTENTION)
    yield from _join("middle_block", 2, "mid_block.resnets.1", _RESNET)


def _join(block: str, index: int, module: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{block}.{index}.{old}", f"{module}.{new}") for old, new in names.items())


def differences(got: Shapes, expected: Shapes) -> list[str]:
    """Lines for tensors that are missing, left over or of other shapes: the first `N_LISTED` of each, and a count."""
    of_kind = {
        "missing": [f"{name} {list(shape)}" for name, shape in expected.items() if name not in got],
        "left over": [f"{name} {list(shape)}" for name, shape in got.items() if name not in expected],
        "of another shape": [
            f"{name} got {list(got[name])}, expected {list(shape)}"
            for name, shape in expected.items()
            if got.get(name, shape) != shape
        ],
    }
    lines = []
    for kind, tensors in of_kind.items():
        lines += [f"{kind}: {tensor}" for tensor in tensors[:N_LISTED]]
        if len(tensors) > N_LISTED:
            lines.append(f"{kind}: {len(tensors) - N_LISTED} more ({len(tensors)} in all)")
    return lines
