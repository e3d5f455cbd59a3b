"""What training changes at random, so that a head does not take the stain of its few images for what it looks for.

The spreads of colours serve the U-Net from scratch as well (benchmarks/accuracy/unet_baseline.py). That of the
activations has no model: another stain changes them in ways that nobody knows, and a gain and an offset of each channel
is the least.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from .sampling import FILTERS, MapKey

SPREAD = 0.2
"""Deviation of gains around 1, and of offsets around 0 in deviations of the channel."""
MIXTURE = 0.1
"""Deviation of what each colour takes from the others."""
HIDDEN = 0.5
"""Chance that a block's activations of an image are hidden, lest the head trust them where colours tell more."""


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


def hide_blocks(
    inputs: Float[Tensor, "image pixel all"], channels: Mapping[MapKey, int], generator: torch.Generator
) -> Float[Tensor, "image pixel all"]:
    """Set some blocks' activations of some images to 0, where filters remain visible.

    Args:
        inputs: of all blocks side by side, standardised.
        channels: block → how many of them are its own, in order.
        generator: where randomness comes from; of the CPU.
    """
    if FILTERS not in channels:
        return inputs
    shown = torch.rand(len(inputs), 1, len(channels), generator=generator) >= HIDDEN
    shown[..., list(channels).index(FILTERS)] = True
    return inputs * shown.repeat_interleave(torch.tensor([*channels.values()]), -1).to(inputs.device)


def jitter_activations(
    activations: Float[Tensor, "image y x channel"], generator: torch.Generator, hidden: float = HIDDEN
) -> Float[Tensor, "image y x channel"]:
    """Scale and shift each channel of each image, and set some images' activations to 0.

    Args:
        activations: of one block, standardised.
        generator: where randomness comes from; of the CPU.
        hidden: chance that an image's are set to 0.
    """
    shape = (len(activations), 1, 1, activations.shape[-1])
    gain = 1 + SPREAD * torch.randn(shape, generator=generator)
    offset = SPREAD * torch.randn(shape, generator=generator)
    shown = (torch.rand(len(activations), 1, 1, 1, generator=generator) >= hidden).float()
    return torch.addcmul((offset * shown).to(activations.device), activations, (gain * shown).to(activations.device))
