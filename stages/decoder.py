"""A UNet's forward pass up to a decoder block, made of the diffusers model's own modules.

diffusers keeps a decoder level's residual blocks, attentions and upsampler apart and runs a level whole;
guided-diffusion's `output_blocks`, whose numbers the papers use, cut across them. Here the same modules are taken in
guided-diffusion's pieces. It has no hooks and throws nothing to stop early, so torch.compile takes it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# The levels that are made of (residual block, attention?)* upsampler?, each residual block with one skip connection.
UP_BLOCKS = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")
DOWN_BLOCKS = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")


class TruncatedUNet(nn.Module):
    """The part of a `UNet2DModel` up to a decoder block, sharing its modules; free of hooks, so it compiles whole."""

    def __init__(self, model: Any, blocks: Sequence[int]) -> None:  # noqa: ANN401
        super().__init__()
        self.blocks = frozenset(blocks)
        self.center_input = bool(model.config.center_input_sample)
        self.time_proj: nn.Module = model.time_proj
        self.time_embedding: nn.Module = model.time_embedding
        self.conv_in: nn.Module = model.conv_in
        self.down_blocks: nn.ModuleList = model.down_blocks
        self.mid_block: nn.Module | None = model.mid_block
        self.decoder = nn.ModuleList(_decoder_blocks(model)[: max(blocks) + 1])

    def forward(
        self, x_t: Float[Tensor, "batch channel y x"], timesteps: Int[Tensor, " batch"]
    ) -> dict[int, Float[Tensor, "batch channel y x"]]:
        """The chosen blocks' activations, by number in ascending order."""
        time = self.time_embedding(self.time_proj(timesteps).to(x_t.dtype))
        hidden = self.conv_in(2 * x_t - 1 if self.center_input else x_t)
        skips = [hidden]
        for level in self.down_blocks:
            hidden, outputs = level(hidden, time)
            skips.extend(outputs)
        if self.mid_block is not None:
            hidden = self.mid_block(hidden, time)
        recorded = {}
        for number, block in enumerate(self.decoder):
            hidden = block(hidden, skips.pop(), time)
            if number in self.blocks:
                recorded[number] = hidden
        return recorded


class DecoderBlock(nn.Module):
    """One of guided-diffusion's `output_blocks`, from diffusers' parts."""

    def __init__(self, resnet: nn.Module, attention: nn.Module | None, upsampler: nn.Module | None) -> None:
        from diffusers.models.resnet import ResnetBlock2D

        super().__init__()
        self.resnet, self.attention, self.upsampler = resnet, attention, upsampler
        self.upsampler_reads_time = isinstance(upsampler, ResnetBlock2D)

    def forward(
        self,
        hidden: Float[Tensor, "batch channel y x"],
        skip: Float[Tensor, "batch skip_channel y x"],
        time: Float[Tensor, "batch dim"],
    ) -> Float[Tensor, "batch out_channel out_y out_x"]:
        """Join the skip connection, then residual block, attention and upsampling, as far as there are any."""
        hidden = self.resnet(torch.cat([hidden, skip], dim=1), time)
        if self.attention is not None:
            hidden = self.attention(hidden)
        if self.upsampler is not None:
            hidden = self.upsampler(hidden, time) if self.upsampler_reads_time else self.upsampler(hidden)
        return hidden


def _decoder_blocks(model: nn.Module) -> list[DecoderBlock]:
    blocks = []
    for level in levels(model.up_blocks):
        n_resnets = len(level.resnets)
        attentions = getattr(level, "attentions", [None] * n_resnets)
        upsampler = level.upsamplers[0] if level.upsamplers else None
        upsamplers = [None] * (n_resnets - 1) + [upsampler]
        blocks += [DecoderBlock(*parts) for parts in zip(level.resnets, attentions, upsamplers, strict=True)]
    return blocks


def levels(blocks: object) -> Sequence[Any]:
    """A model's `down_blocks` or `up_blocks`, with attributes that only diffusers knows."""
    return cast("Sequence[Any]", blocks)
