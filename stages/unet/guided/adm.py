"""UNets of guided-diffusion (ADM: Dhariwal and Nichol 2021, arXiv 2105.05233) that diffusers' own class cannot hold."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from diffusers import UNet2DModel
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.upsampling import Upsample2D
from torch import nn

PREFIX = "ADM"


class ADMUNet2DModel(UNet2DModel):
    """A `UNet2DModel` in which more may differ from level to level.

    It has the settings of `UNet2DModel`, of which these mean more:

    * `attention_head_dim`: the width of an attention head for each level of the encoder, for the middle, and for each
      level of the decoder, in the order in which they run; None for a level without attention.
    * `time_embedding_dim`: four times the width of the sinusoidal embedding, which may differ from the first level's.
    * `downsample_type` and `upsample_type`: may be `none`, for average pooling and nearest neighbours without weights.
    * `down_block_types` and `up_block_types`: diffusers' names after `ADM`. diffusers' own class knows no such types,
      so it refuses the folder, where it would otherwise load the same weights and compute something else.
    """

    @functools.wraps(UNet2DModel.__init__)  # type: ignore[misc]  # diffusers reads the names of settings off it
    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**_plain(settings))
        self.register_to_config(**settings)
        parts = [*self.down_blocks, self.mid_block, *self.up_blocks]
        for part, width in zip(parts, settings["attention_head_dim"], strict=True):
            for attention in getattr(part, "attentions", ()):
                _set_head_width(attention, width)
        embedding_width = settings["time_embedding_dim"] // 4
        self.time_proj = Timesteps(embedding_width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(embedding_width, settings["time_embedding_dim"])
        if settings["downsample_type"] == "none":
            _resample_without_weights(self)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """What diffusers' class can be built with: the same tensors but for the time embedding's and the resampling's."""
    resampling = ("downsample_type", "upsample_type")
    return {
        **settings,
        **{kind: _without_prefix(settings[kind]) for kind in ("down_block_types", "up_block_types")},
        **{kind: "conv" if settings[kind] == "none" else settings[kind] for kind in resampling},
        "attention_head_dim": settings["norm_num_groups"],  # it divides every level's width
    }


def _without_prefix(types: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.removeprefix(PREFIX) for name in types)


def _set_head_width(attention: Any, width: int) -> None:  # noqa: ANN401
    attention.heads = attention.sliceable_head_dim = attention.inner_dim // width
    attention.scale = width**-0.5


def _resample_without_weights(model: UNet2DModel) -> None:
    for level in model.down_blocks:
        if level.downsamplers:
            level.downsamplers = nn.ModuleList([Downsample2D(level.downsamplers[0].channels, name="op")])
    for level in model.up_blocks:
        if level.upsamplers:
            level.upsamplers = nn.ModuleList([Upsample2D(level.upsamplers[0].channels)])
