"""Empty UNets of guided-diffusion (ADM: Dhariwal and Nichol 2021, arXiv 2105.05233), in classes of diffusers."""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.embeddings import TimestepEmbedding, Timesteps

from .config import N_GROUPS, ADMConfig

PREFIX = "ADM"
_BLOCK_TYPES = ("down_block_types", "up_block_types")


class ADMUNet2DModel(UNet2DModel):
    """A `UNet2DModel` in which more may differ from level to level.

    It has the settings of `UNet2DModel`, of which these mean more:

    * `attention_head_dim`: the width of an attention head for each level of the encoder, for the middle, and for each
      level of the decoder, in the order in which they run; None for a level without attention.
    * `time_embedding_dim`: four times the width of the sinusoidal embedding, which may differ from the first level's.
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


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that diffusers' class can be built with: the same tensors but for the time embedding's."""
    return {
        **settings,
        **{kind: tuple(name.removeprefix(PREFIX) for name in settings[kind]) for kind in _BLOCK_TYPES},
        "attention_head_dim": settings["norm_num_groups"],  # it divides every level's width
    }


def _set_head_width(attention: Any, width: int) -> None:  # noqa: ANN401
    attention.heads = attention.sliceable_head_dim = attention.inner_dim // width
    attention.scale = width**-0.5


def empty_model(config: ADMConfig) -> UNet2DModel:
    """A UNet of this configuration whose tensors are on the meta device: names and shapes without numbers.

    It is diffusers' own `UNet2DModel` where that can hold the model.
    """
    head_widths = _head_widths(config)
    distinct = {width for width in head_widths if width is not None}
    with torch.device("meta"):
        if len(distinct) == 1 and config.num_channels == config.widths[0]:
            return UNet2DModel(**_settings(config, ""), attention_head_dim=distinct.pop())
        return ADMUNet2DModel(**_settings(config, PREFIX), attention_head_dim=head_widths)


def _head_widths(config: ADMConfig) -> tuple[int | None, ...]:
    """For each level of the encoder, the middle, and each level of the decoder."""
    levels = list(zip(config.widths, config.attention, strict=True))
    down = [config.head_width(width) if attends else None for width, attends in levels]
    up = [config.head_width(width, decoder=True) if attends else None for width, attends in reversed(levels)]
    return (*down, config.head_width(config.widths[-1]), *up)


def _settings(config: ADMConfig, prefix: str) -> dict[str, Any]:
    """Settings of both classes."""
    down, up, resampling = "DownBlock2D", "UpBlock2D", "conv"
    if config.resblock_updown:
        down, up, resampling = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D", "resnet"
    return {
        "sample_size": config.image_size,
        "in_channels": 3,
        "out_channels": 6 if config.learn_sigma else 3,
        "time_embedding_dim": 4 * config.num_channels,
        "down_block_types": tuple(prefix + ("AttnDownBlock2D" if attends else down) for attends in config.attention),
        "up_block_types": tuple(
            prefix + ("AttnUpBlock2D" if attends else up) for attends in reversed(config.attention)
        ),
        "block_out_channels": config.widths,
        "layers_per_block": config.num_res_blocks,
        "downsample_type": resampling,
        "upsample_type": resampling,
        "norm_num_groups": N_GROUPS,
        "attn_norm_num_groups": N_GROUPS,
        "resnet_time_scale_shift": "scale_shift" if config.use_scale_shift_norm else "default",
        "num_class_embeds": config.n_classes if config.class_cond else None,
    }
