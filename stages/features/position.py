"""Where in the whole image a pixel lies, so that words such as "upper" can mean something.

A text describes the whole image, while a head may see a tile of it, flipped or turned: each input goes with its
region of the image, turned as the input is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

N_FREQUENCIES = 3


class Region(NamedTuple):
    """A rectangle, in shares of the whole image's height and width; it may reach beyond the image."""

    top: float
    left: float
    height: float
    width: float


FULL_IMAGE = Region(0.0, 0.0, 1.0, 1.0)

MapRegions = Sequence[Region] | Float[Tensor, "image 4"]
"""A region of each image; as a tensor, it is where the pixels are."""


def positional_encoding(
    pixels: Int[Tensor, "image pixel"], size: tuple[int, int], regions: MapRegions
) -> Float[Tensor, "image pixel signal"]:
    """Sines and cosines of a pixel's position: half a wave, one and two waves across the whole image, along each axis.

    Args:
        pixels: positions in the flattened label map.
        size: (y, x) of the label map.
        regions: what the label map of each image shows; a single one holds for all.

    Returns:
        In [-1, 1].
    """
    regions = regions if isinstance(regions, Tensor) else torch.tensor(regions, device=pixels.device)
    top, left, height, width = regions.T[..., None]  # each [image, 1]
    y, x = pixels.div(size[1], rounding_mode="floor"), pixels % size[1]
    image = torch.arange(len(regions), device=pixels.device)[:, None]
    (sin_y, cos_y), (sin_x, cos_x) = _along(top, height, size[0]), _along(left, width, size[1])
    return torch.cat([sin_y[image, y], sin_x[image, x], cos_y[image, y], cos_x[image, x]], -1)


def _along(
    start: Float[Tensor, "image 1"], length: Float[Tensor, "image 1"], n_pixels: int
) -> tuple[Float[Tensor, "image place wave"], Float[Tensor, "image place wave"]]:
    """Sines and cosines at all places along an axis: far fewer than there are pixels."""
    place = start + (torch.arange(n_pixels, device=start.device) + 0.5) / n_pixels * length
    phase = place[..., None] * (math.pi * 2.0 ** torch.arange(N_FREQUENCIES, device=start.device))
    return phase.sin(), phase.cos()
