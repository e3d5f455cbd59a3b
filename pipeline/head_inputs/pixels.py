"""Sampled pixels of a few rows, as the pixel head learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...cache.format.blocks import Block
from ...cache.format.samples import SampleRow
from ...stages.features.sampling import sample_pixels
from .inputs import CachedFeatures


@dataclass(frozen=True)
class PixelBatch:
    """Sampled pixels of a few images; all but activations that are kept on a GPU lie on the CPU."""

    features: dict[Block, Float[Tensor, "image pixel channel"]]
    pixels: Int[Tensor, "image pixel"]
    labels: Int[Tensor, "image pixel"]


def sample_batch(
    data: CachedFeatures, samples: Sequence[SampleRow], n_pixels: int, generator: torch.Generator
) -> PixelBatch:
    """Draw labelled pixels of each sample and gather their activations and labels."""
    features: dict[Block, list[Tensor]] = {block: [] for block in data.map_keys}
    pixels, labels = [], []
    for sample in samples:
        truth = data.labels(sample)
        drawn = sample_pixels(truth, n_pixels, data.ignore, generator)
        for block, gathered in data.gather(sample, drawn).items():
            features[block].append(gathered)
        pixels.append(drawn)
        labels.append(truth.reshape(-1)[drawn])
    stacked = {block: torch.stack(gathered) for block, gathered in features.items()}
    return PixelBatch(stacked, torch.stack(pixels), torch.stack(labels))


def sample_everywhere(
    data: CachedFeatures, samples: Sequence[SampleRow], n_pixels: int, generator: torch.Generator
) -> dict[Block, Float[Tensor, "pixel channel"]]:
    """Each block's activations at pixels of each sample, labelled or not: where labels are few, these are not few."""
    nothing_ignored = torch.zeros(data.size, dtype=torch.uint8)
    drawn = [sample_pixels(nothing_ignored, n_pixels, data.ignore, generator) for _ in samples]
    gathered = [data.gather(sample, pixels) for sample, pixels in zip(samples, drawn, strict=True)]
    return {block: torch.cat([one[block] for one in gathered]) for block in data.map_keys}
