"""What training changes at random, so that a head does not take the stain of its few images for what it looks for.

The spreads of colours serve the U-Net from scratch as well (benchmarks/unet_baseline.py). That of the activations has
no model: another stain changes them in ways that nobody knows, and a gain and an offset of each channel is the least.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SPREAD = 0.2
"""Deviation of gains around 1, and of offsets around 0 in deviations of the channel."""
MIXTURE = 0.1
"""Deviation of what each colour takes from the others."""


def jitter_colours(
    colours: Float[Tensor, "image y x colour"], generator: torch.Generator
) -> Float[Tensor, "image y x colour"]:
    """Mix each image's colours a little, and scale and shift them: another stain, another scanner.

    Args:
        colours: standardised within each image, or nearly so.
        generator: where randomness comes from; of the CPU.
    """
    n, c = len(colours), colours.shape[-1]
    gain = torch.diag_embed(1 + SPREAD * torch.randn(n, c, generator=generator))
    mixture = gain + MIXTURE * torch.randn(n, c, c, generator=generator)
    offset = SPREAD * torch.randn(n, 1, 1, c, generator=generator)
    return torch.einsum("nyxj,nij->nyxi", colours, mixture.to(colours.device)) + offset.to(colours.device)


def jitter_unit(
    mean: Float[Tensor, "#image channel"],
    scale: Float[Tensor, "#image channel"],
    n_images: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "image channel"], Float[Tensor, "image channel"]]:
    """A mean and a 1/deviation of each image by which standardised activations come out scaled and shifted."""
    shape = (n_images, mean.shape[-1])
    gain = 1 + SPREAD * torch.randn(shape, generator=generator).to(mean.device)
    offset = SPREAD * torch.randn(shape, generator=generator).to(mean.device)
    # (x - mean') * scale' = gain * ((x - mean) * scale) + offset, and no gain is 0 where it must divide.
    gain = gain.clamp(min=SPREAD)
    return mean - offset / (gain * scale), gain * scale
