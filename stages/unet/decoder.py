"""A UNet's forward pass up to a decoder block, made of the diffusers model's own modules.

diffusers keeps a decoder level's residual blocks, attentions and upsampler apart and runs a level whole;
guided-diffusion's `output_blocks`, whose numbers the papers use, cut across them, and so do latent diffusion's. Here
the same modules are taken in those pieces. It has no hooks and throws nothing to stop early, so torch.compile takes
it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# The levels that are made of (residual block, attention?)* upsampler?, each residual block with one skip connection.
UP_BLOCKS = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "CrossAttnUpBlock2D")
DOWN_BLOCKS = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "CrossAttnDownBlock2D")


class TruncatedUNet(nn.Module):
    """The part of a UNet up to a decoder block, sharing its modules; free of hooks, so it compiles whole.

    Args:
        model: diffusers' `UNet2DModel` or `UNet2DConditionModel`.
        blocks: the decoder blocks to record.
        class_label: label given to a class-conditional model; `None`: its label embedding is left out.
    """

    label_embedding: Tensor | None

    def __init__(self, model: Any, blocks: Sequence[int], class_label: int | None = None) -> None:  # noqa: ANN401
        super().__init__()
        self.blocks = frozenset(blocks)
        self.center_input = bool(model.config.center_input_sample)
        self.time_proj: nn.Module = model.time_proj
        self.time_embedding: nn.Module = model.time_embedding
        label_embedding = None if class_label is None else model.class_embedding.weight[class_label]
        self.register_buffer("label_embedding", label_embedding, persistent=False)
        self.conv_in: nn.Module = model.conv_in
        self.down_blocks: nn.ModuleList = model.down_blocks
        self.mid_block: nn.Module | None = model.mid_block
        self.decoder = nn.ModuleList(_decoder_blocks(model)[: max(blocks) + 1])

    def forward(
        self,
        x_t: Float[Tensor, "batch channel y x"],
        timesteps: Int[Tensor, " batch"],
        text: Float[Tensor, "batch token dim"] | None = None,
    ) -> dict[int, Float[Tensor, "batch channel y x"]]:
        """The chosen blocks' activations, by number in ascending order; `text` for text-conditioned models."""
        time = self.time_embedding(self.time_proj(timesteps).to(x_t.dtype))
        if self.label_embedding is not None:
            time = time + self.label_embedding
        hidden = self.conv_in(2 * x_t - 1 if self.center_input else x_t)
        skips = [hidden]
        for level in self.down_blocks:
            hidden, outputs = _run_level(level, hidden, time, text)
            skips.extend(outputs)
        if self.mid_block is not None:
            hidden = _run_level(self.mid_block, hidden, time, text)
        recorded = {}
        for number, block in enumerate(self.decoder):
            hidden = block(hidden, skips.pop(), time, text)
            if number in self.blocks:
                recorded[number] = hidden
        return recorded


class DecoderBlock(nn.Module):
    """One of guided-diffusion's `output_blocks`, from diffusers' parts."""

    def __init__(
        self, resnet: nn.Module, attention: nn.Module | None, upsampler: nn.Module | None, *, text_conditioned: bool
    ) -> None:
        from diffusers.models.resnet import ResnetBlock2D

        super().__init__()
        self.resnet, self.attention, self.upsampler = resnet, attention, upsampler
        self.text_conditioned = text_conditioned
        self.upsampler_reads_time = isinstance(upsampler, ResnetBlock2D)

    def forward(
        self,
        hidden: Float[Tensor, "batch channel y x"],
        skip: Float[Tensor, "batch skip_channel y x"],
        time: Float[Tensor, "batch dim"],
        text: Float[Tensor, "batch token text_dim"] | None,
    ) -> Float[Tensor, "batch out_channel out_y out_x"]:
        """Join the skip connection, then residual block, and attention and upsampling if the block has them."""
        hidden = self.resnet(torch.cat([hidden, skip], dim=1), time)
        if self.attention is not None and self.text_conditioned:
            (hidden,) = self.attention(hidden, encoder_hidden_states=text, return_dict=False)
        elif self.attention is not None:
            hidden = self.attention(hidden)
        if self.upsampler is not None:
            hidden = self.upsampler(hidden, time) if self.upsampler_reads_time else self.upsampler(hidden)
        return hidden


def _run_level(level: nn.Module, hidden: Tensor, time: Tensor, text: Tensor | None) -> Any:  # noqa: ANN401
    """A level of the encoder, or the middle, run whole."""
    return level(hidden, time, encoder_hidden_states=text) if _has_cross_attention(level) else level(hidden, time)


def _has_cross_attention(level: nn.Module) -> bool:
    return bool(getattr(level, "has_cross_attention", False))


def _decoder_blocks(model: nn.Module) -> list[DecoderBlock]:
    blocks = []
    for level in levels(model.up_blocks):
        n_resnets = len(level.resnets)
        attentions = getattr(level, "attentions", [None] * n_resnets)
        upsampler = level.upsamplers[0] if level.upsamplers else None
        upsamplers = [None] * (n_resnets - 1) + [upsampler]
        parts = zip(level.resnets, attentions, upsamplers, strict=True)
        blocks += [DecoderBlock(*part, text_conditioned=_has_cross_attention(level)) for part in parts]
    return blocks


def levels(blocks: object) -> Sequence[Any]:
    """A model's `down_blocks` or `up_blocks`, with attributes that only diffusers knows."""
    return cast("Sequence[Any]", blocks)
