"""Random changes of training images, so that a head does not learn the stain of its few images by heart.

The spreads of colours serve the U-Net from scratch as well (benchmarks/accuracy/unet_baseline.py). That of the
activations has no model: another stain changes them in ways that nobody knows, and a gain and an offset of each channel
is the least.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .sampling import FILTERS, MapKey

SPREAD = 0.2
"""Deviation of gains around 1, and of offsets around 0 in deviations of the channel."""
MIXTURE = 0.1
"""Deviation of what each colour takes from the others."""
HIDDEN = 0.5
"""Chance that a block's activations of an image are hidden, lest the head trust them where colours tell more."""


class ColourJitter(NamedTuple):
    """Another stain, another scanner: each image's colours are mixed a little, scaled and shifted."""

    mixture: Float[Tensor, "image colour_after colour"]
    offset: Float[Tensor, "image 1 1 colour"]

    def of(self, colours: Float[Tensor, "image y x colour"]) -> Float[Tensor, "image y x colour"]:
        """The colours after it, standardised within each image, or nearly so, before."""
        return torch.einsum("nyxj,nij->nyxi", colours, self.mixture) + self.offset


class ActivationJitter(NamedTuple):
    """Each channel of each image is scaled and shifted, and some images' activations are set to 0."""

    gain: Float[Tensor, "image 1 1 channel"]
    offset: Float[Tensor, "image 1 1 channel"]

    def of(self, activations: Float[Tensor, "image y x channel"]) -> Float[Tensor, "image y x channel"]:
        """The activations of a block after it, standardised before."""
        return torch.addcmul(self.offset, activations, self.gain)


def draw_colour_jitter(n_images: int, n_colours: int, generator: torch.Generator) -> ColourJitter:
    """Draw a change of each image, on the CPU."""
    gain = torch.diag_embed(1 + SPREAD * torch.randn(n_images, n_colours, generator=generator))
    mixture = gain + MIXTURE * torch.randn(n_images, n_colours, n_colours, generator=generator)
    return ColourJitter(mixture, SPREAD * torch.randn(n_images, 1, 1, n_colours, generator=generator))


def draw_activation_jitter(
    n_images: int, n_channels: int, generator: torch.Generator, hidden: float = HIDDEN
) -> ActivationJitter:
    """Draw a change of each image, on the CPU.

    Args:
        n_images: number of images.
        n_channels: of the block.
        generator: where randomness comes from.
        hidden: chance that an image's activations are set to 0.
    """
    gain = 1 + SPREAD * torch.randn(n_images, 1, 1, n_channels, generator=generator)
    offset = SPREAD * torch.randn(n_images, 1, 1, n_channels, generator=generator)
    shown = (torch.rand(n_images, 1, 1, 1, generator=generator) >= hidden).float()
    return ActivationJitter(gain * shown, offset * shown)


def draw_shown(
    n_images: int, channels: Mapping[MapKey, int], generator: torch.Generator
) -> Bool[Tensor, "image 1 all"] | None:
    """Draw which blocks' activations of which images are shown, on the CPU; `None`: all, since there are no filters.

    Args:
        n_images: number of images.
        channels: block → its channels, in the order in which they lie side by side.
        generator: where randomness comes from.
    """
    if FILTERS not in channels:
        return None
    shown = torch.rand(n_images, 1, len(channels), generator=generator) >= HIDDEN
    shown[..., list(channels).index(FILTERS)] = True
    return shown.repeat_interleave(torch.tensor([*channels.values()]), -1)
