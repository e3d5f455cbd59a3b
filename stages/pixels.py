"""Activations at chosen pixels, taken from each block's own resolution.

A pixel of the label map lies between four points of a block's map. Bilinear interpolation is a weighted sum of these
four rows of the channels-last map, so that only what is sampled is read: the full-resolution stack is never built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Maps = Mapping[int, Sequence[Float[Tensor, "y x channel"]]]
"""Block → its activations at each timestep, for one image."""


def sample_pixels(
    labels: Int[Tensor, "y x"], n_pixels: int, ignore: int, generator: torch.Generator
) -> Int[Tensor, "pixel"]:
    """Draw labelled pixels of one image, evenly and with replacement.

    Returns:
        int64 positions in the flattened label map; none if nothing is labelled.
    """
    flat = labels.reshape(-1)
    labelled = (flat != ignore).nonzero().squeeze(1)
    if len(labelled) == 0:
        return labelled
    return labelled[torch.randint(len(labelled), (n_pixels,), generator=generator)]


def gather(maps: Maps, pixels: Int[Tensor, "pixel"], size: tuple[int, int]) -> dict[int, Tensor]:
    """Interpolate every block's activations at the given pixels.

    Args:
        maps: one image's activations, each block at its own resolution.
        pixels: positions in the flattened label map.
        size: (y, x) of the label map.

    Returns:
        Block → [pixel, timestep × channel], in the maps' dtype.
    """
    return {block: torch.cat([interpolate(map_, pixels, size) for map_ in of], -1) for block, of in maps.items()}


@torch.no_grad()
def interpolate(
    map_: Float[Tensor, "y x channel"], pixels: Int[Tensor, "pixel"], size: tuple[int, int]
) -> Float[Tensor, "pixel channel"]:
    """Bilinear interpolation at chosen pixels; agrees with `F.interpolate(..., align_corners=False)` to `size`."""
    height, width, n_channels = map_.shape
    rows = map_.reshape(height * width, n_channels)
    if (height, width) == size:
        return rows[pixels]
    (top, bottom, y_share) = _neighbours(pixels.div(size[1], rounding_mode="floor"), size[0], height)
    (left, right, x_share) = _neighbours(pixels % size[1], size[1], width)
    corners = torch.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right], 1)
    y_shares, x_shares = torch.stack([1 - y_share, y_share]), torch.stack([1 - x_share, x_share])
    weights = (y_shares[:, None] * x_shares[None]).reshape(4, -1).T.to(map_.dtype)
    # One fused gather and sum; measured 2 to 50 times faster here than indexing the corners and weighting them.
    return F.embedding_bag(corners, rows, per_sample_weights=weights.contiguous(), mode="sum")


def _neighbours(position: Tensor, size: int, map_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two map points around each pixel's centre, and the share of the second."""
    centre = ((position + 0.5) * (map_size / size) - 0.5).clamp(0, map_size - 1)
    low = centre.floor().long()
    return low, (low + 1).clamp(max=map_size - 1), centre - low
