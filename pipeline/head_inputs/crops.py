"""Crops of a few images, as heads that look at neighbours learn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...cache.format.blocks import Block
from ...cache.format.samples import SampleRow
from ...errors import ConfigError
from ...stages.features.crops import cut, draw_crop, turned
from ...stages.heads.context import CELL, STRIDE, seen
from .inputs import CachedFeatures

MIN_SIDE = 64
SIDE_SHARE = 4
"""Crops have a quarter of the image's side: 128 of 512 pixels, as in benchmarks/accuracy/unet_baseline.py."""


@dataclass(frozen=True)
class CropBatch:
    """A crop of each image; all but activations that are kept on a GPU lie on the CPU."""

    features: dict[Block, Float[Tensor, "image y x channel"]]
    """Block → what the head reads of it, all timesteps together, at the block's own resolution."""
    labels: UInt8[Tensor, "image y x"]
    regions: Float[Tensor, "image 4"]
    """Part of the image that each crop shows; the image's text describes the whole."""
    turns: list[int]
    """How each crop was turned after it was cut (`crops.turned`)."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops in pixels of the label map."""
        return (self.labels.shape[1], self.labels.shape[2])


def draw_crops(
    data: CachedFeatures, samples: Sequence[SampleRow], generator: torch.Generator, *, turn: bool = False
) -> CropBatch:
    """Draw a crop with a labelled pixel from each sample, in one of the eight views of it if they are to be turned."""
    stride = _stride(data)
    side = min(data.size[0], -(-max(MIN_SIDE, data.size[0] // SIDE_SHARE) // stride) * stride)
    features: dict[Block, list[Tensor]] = {block: [] for block in data.map_keys}
    labels, regions, turns = [], [], []
    for sample in samples:
        truth = data.labels(sample)
        crop = draw_crop(truth, side, stride, data.ignore, generator)
        turns.append(int(torch.randint(8, (), generator=generator)) if turn else 0)
        for block, map_ in cut(seen(data.maps(sample)), crop, data.size).items():
            features[block].append(turned(map_, turns[-1]))
        labels.append(turned(crop.of(truth, data.size), turns[-1]))
        regions.append(crop.region(data.size, data.region(sample)))
    stacked = {block: torch.stack(maps) for block, maps in features.items()}
    return CropBatch(stacked, torch.stack(labels), torch.tensor(regions), turns)


def require_cells(data: CachedFeatures) -> None:
    """Refuse images that do not divide into cells.

    Raises:
        ConfigError: if their size is not a multiple of a cell's.
    """
    if data.size[0] % CELL or data.size[1] % CELL:
        raise ConfigError(
            f"--head context looks at cells of {CELL}x{CELL} pixels, and the cache's images have {data.size[0]}x"
            f"{data.size[1]}; extract with an even --image-size, or use --head pixel"
        )
    shapes = data.reader.manifest.block_shapes
    odd = [block for block in data.blocks_and_layers if data.size[0] % shapes[block][0]]
    if odd:
        sizes = ", ".join(f"{block} has {shapes[block][0]}x{shapes[block][1]}" for block in odd)
        raise ConfigError(
            f"--head context cuts crops, and {data.size[0]}x{data.size[1]} pixels do not divide into the points of "
            f"these maps: {sizes}; extract with another --image-size, or use --head pixel"
        )


def _stride(data: CachedFeatures) -> int:
    """Pixels of the label map such that crops cut no point of a map, nor of the head's coarsest level, in two."""
    shapes = data.reader.manifest.block_shapes
    return math.lcm(STRIDE, *(data.size[0] // shapes[block][0] for block in data.blocks_and_layers))
