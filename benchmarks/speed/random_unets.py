"""UNets of random weights, whose speed is that of trained ones."""

from __future__ import annotations

import torch
from diffusers import UNet2DModel


def adm_unet(image_size: int, channels: int = 256) -> UNet2DModel:
    """The architecture of guided-diffusion's 256x256_diffusion_uncond, of 553 M parameters with its 256 channels."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=image_size,
        out_channels=6,
        block_out_channels=tuple(channels * factor for factor in (1, 1, 2, 2, 4, 4)),
        layers_per_block=2,
        down_block_types=("ResnetDownsampleBlock2D",) * 3 + ("AttnDownBlock2D",) * 3,
        up_block_types=("AttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",) * 3,
        resnet_time_scale_shift="scale_shift",
        downsample_type="resnet",
        upsample_type="resnet",
        attention_head_dim=64,
        attn_norm_num_groups=32,
    ).eval()


def small_unet(image_size: int, channels: tuple[int, ...]) -> UNet2DModel:
    """The architecture of `pretrain-unet`: two decoder blocks a level."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=image_size,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        attention_head_dim=32,
        norm_num_groups=8,
    ).eval()
