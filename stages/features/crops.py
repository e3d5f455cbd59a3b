"""Square crops of images and of their maps, for heads that look at neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .position import Region
from .sampling import Map, MapKey, Maps, QuantisedMap, dense, sample_pixels


@dataclass(frozen=True)
class Crop:
    """A rectangle of pixels of a label map."""

    top: int
    left: int
    height: int
    width: int

    def of(self, map_: Tensor, size: tuple[int, int]) -> Tensor:
        """The part of a map, [y, x, ...], which may be coarser than the label map by a divisor of the crop's corner."""
        y, x = size[0] // map_.shape[0], size[1] // map_.shape[1]
        return map_[
            self.top // y : (self.top + self.height) // y,
            self.left // x : (self.left + self.width) // x,
        ]

    def region(self, size: tuple[int, int], whole: Region) -> Region:
        """Region of the whole image that the crop shows; `whole` is the label map's."""
        y, x = whole.height / size[0], whole.width / size[1]
        return Region(whole.top + self.top * y, whole.left + self.left * x, self.height * y, self.width * x)


def draw_crop(labels: UInt8[Tensor, "y x"], side: int, stride: int, ignore: int, generator: torch.Generator) -> Crop:
    """A square (all of an axis that is shorter) that holds a labelled pixel, which is drawn first.

    Args:
        labels: class indices, or `ignore`; at least one labelled pixel.
        side: of the square in pixels; a multiple of `stride`.
        stride: the crop begins at multiples of it.
        ignore: the label that means "not labelled".
        generator: where randomness comes from.
    """
    pixel = int(sample_pixels(labels, 1, ignore, generator))
    at = divmod(pixel, labels.shape[1])
    top, left = (_draw_start(i, n, side, stride, generator) for i, n in zip(at, labels.shape, strict=True))
    return Crop(top, left, min(side, labels.shape[0]), min(side, labels.shape[1]))


def _draw_start(at: int, length: int, side: int, stride: int, generator: torch.Generator) -> int:
    low, high = math.ceil(max(0, at - side + 1) / stride), max(0, min(at, length - side)) // stride
    return stride * (low + int(torch.randint(high - low + 1, (), generator=generator)))


def turned(map_: Tensor, turn: int) -> Tensor:
    """A square map [y, x, ...] after so many quarters, 0 to 3; from 4 on flipped before."""
    return torch.rot90(map_.flip(1) if turn >= 4 else map_, turn % 4, (0, 1))


def cut(maps: Maps, crop: Crop, size: tuple[int, int]) -> dict[MapKey, Float[Tensor, "y x channel"]]:
    """Each block's activations inside a crop, all timesteps together, at the block's own resolution."""
    return {block: torch.cat([dense(_inside(crop, map_, size)) for map_ in of], -1) for block, of in maps.items()}


def _inside(crop: Crop, map_: Map, size: tuple[int, int]) -> Map:
    """Part of a map; of a quantised one as it is stored, so that no more is dequantised than is used."""
    if isinstance(map_, QuantisedMap):
        return QuantisedMap(crop.of(map_.values, size), map_.scale)
    return crop.of(map_, size)
