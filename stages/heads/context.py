"""The context head: what a pixel's activations say is weighed with what those around it say.

Single pixels cannot tell the rim of one nucleus from the gap between two; shapes can. The label map is divided into
cells of 2×2 pixels, and each cell is projected, placed and guided by the text as a pixel of the pixel head is; of maps
as fine as the label map it reads the pixels around it too. Then convolutions mix neighbours at three resolutions, as
in a U-Net (Ronneberger 2015, arXiv 1505.04597), and the classifier gives the logits of the four pixels of a cell
(sub-pixel convolution, Shi 2016, arXiv 1609.05158), so that no detail is lost.

Of the image's filters the head reads the colours alone: convolutions make their own filters of them, and colours can be
changed in training as another stain would change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..features.crops import turned
from ..features.position import FULL_IMAGE, MapRegions
from ..features.sampling import COLOURS, FILTERS, MapKey, Maps, dense
from .base import ALL_CHANNELS, GuidedHead, HeadSpec, Prepared
from .input import HeadInput

CELL = 2
"""Pixels of a cell along each axis."""
TAPS = 4
"""Pixels that a cell reads along each axis of a map as fine as the label map: one on each side beyond its own."""
LEVELS = (1, 2, 3)
"""Channels at each resolution, in widths of the head; each has half the resolution of the one before."""
STRIDE = CELL * 2 ** (len(LEVELS) - 1)
"""Pixels of the label map that a point of the coarsest level covers along each axis."""


class ContextHead(GuidedHead):
    """Cross-attention to the text, convolutions over cells, and a classifier of the pixels of a cell."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.mix = nn.Sequential(
            nn.BatchNorm2d(spec.width), nn.ReLU(), Mixing([spec.width * level for level in LEVELS])
        )
        self.classifier = nn.Sequential(nn.Conv2d(spec.width, spec.n_classes * CELL**2, 1), nn.PixelShuffle(CELL))

    def projection(self, block: MapKey, n_channels: int) -> nn.Module:
        """As `GuidedHead.projection`, of what is read; a convolution where cells are smaller than points of the map."""
        n_used = len(range(n_channels)[channels_read(block)])
        if block not in self.spec.fine:
            return nn.Linear(n_used, self.spec.width)
        return nn.Conv2d(n_used, self.spec.width, TAPS, stride=CELL, padding=(TAPS - CELL) // 2)

    def inputs(self, features: Mapping[MapKey, Float[Tensor, "*point channel"]]) -> dict[MapKey, Tensor]:
        """Activations and filters as `seen` gives them, standardised."""
        return {block: self.standardised(block, of, channels_read(block)) for block, of in features.items()}

    def prepare(self, features: Maps) -> Prepared:
        """The channels that the head reads, standardised."""
        return self.inputs({block: torch.cat(list(map(dense, maps)), -1) for block, maps in seen(features).items()})

    def forward(
        self,
        inputs: Mapping[MapKey, Float[Tensor, "image y x channel"]],
        size: tuple[int, int],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
        *,
        regions: MapRegions = (FULL_IMAGE,),
        turns: Sequence[int] = (0,),
    ) -> Float[Tensor, "image n_classes y x"]:
        """Logits of whole pictures, or of crops.

        Args:
            inputs: of each crop or image, as `inputs` gives them.
            size: (y, x) of the pictures; even.
            tokens: of each one's text.
            mask: true on real tokens; false throughout where one has no text.
            regions: of the image that the text describes, as each crop or image shows it; a single one holds for all.
            turns: how each crop, square then, was turned after that (`crops.turned`); likewise.
        """
        grid = (size[0] // CELL, size[1] // CELL)
        projected = self._projected(inputs, grid)
        cells = _cells(grid, turns, projected.device)
        guided = self.guide(projected, cells, grid, self.attention.reading(tokens, mask), regions=regions)
        logits: Tensor = self.classifier(self.mix(guided.unflatten(1, grid).movedim(-1, 1)))
        return logits

    def logits(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "1 n_classes y x"]:
        """As `GuidedHead.logits`, all pixels at once."""
        logits: Tensor = self(_batch(prepared), x.size, x.tokens[None], x.token_mask[None], regions=x.regions)
        return logits.float()

    def attention_maps_prepared(
        self, prepared: Prepared, x: HeadInput, words: Float[Tensor, "token word"]
    ) -> Float[Tensor, "name word y x"]:
        """As `Head.attention_maps`; the pixels of a cell read together."""
        grid = (x.size[0] // CELL, x.size[1] // CELL)
        projected = self._projected(_batch(prepared), grid)
        cells = _cells(grid, (0,), projected.device)
        known = reduce(torch.add, self._known(projected, cells, grid, x.regions))
        weights = self.attention.weights(known, x.tokens[None], x.token_mask[None])[0] @ words  # [head, cell, word]
        return weights.mT.unflatten(-1, grid).repeat_interleave(CELL, -2).repeat_interleave(CELL, -1)

    def _projected(self, inputs: Mapping[MapKey, Tensor], grid: tuple[int, int]) -> Float[Tensor, "image cell width"]:
        """The projections of all blocks, summed."""
        return reduce(torch.add, (self._project(block, map_, grid) for block, map_ in inputs.items())).flatten(1, 2)

    def _project(self, block: MapKey, map_: Tensor, grid: tuple[int, int]) -> Float[Tensor, "image y x width"]:
        layer = self.projections[str(block)]
        if block in self.spec.fine:
            read: Tensor = layer(map_.movedim(-1, 1))
            return read.movedim(1, -1)
        projected: Tensor = layer(map_)
        if not torch.compiler.is_compiling() and projected.shape[1:3] == grid:  # a graph holds for maps of any size
            return projected
        return F.interpolate(projected.movedim(-1, 1), grid, mode="bilinear").movedim(1, -1)


def channels_read(block: MapKey) -> slice:
    """The channels of a block that the head reads: of activations all, of filters the colours."""
    return COLOURS if block == FILTERS else ALL_CHANNELS


def seen(maps: Maps) -> Maps:
    """One image as a batch, without a copy."""
    return {block: [dense(map_)[..., COLOURS] for map_ in of] if block == FILTERS else of for block, of in maps.items()}


def _batch(prepared: Prepared) -> dict[MapKey, Tensor]:
    return {block: map_[None] for block, map_ in prepared.items()}


class Mixing(nn.Module):
    """A layer, what coarser resolutions make of it, and two layers that see both; at the coarsest, two layers.

    Args:
        widths: channels at this resolution, and at each coarser one.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        width, *coarser = widths
        self.before = Layer(width, width)
        self.below = nn.Sequential(Layer(width, coarser[0], stride=2), Mixing(coarser)) if coarser else None
        self.after = (
            nn.Sequential(Layer(width + coarser[0], width), Layer(width, width)) if coarser else Layer(width, width)
        )

    def forward(self, x: Float[Tensor, "image width y x"]) -> Float[Tensor, "image width y x"]:
        """New channels of each point, from itself and those around it."""
        x = self.before(x)
        if self.below is None:
            mixed: Tensor = self.after(x)
        else:
            both, last = self.after
            mixed = last(both(x, self.below(x)))
        return mixed


class Layer(nn.Sequential):
    """Convolution of 3×3 points, batch normalisation and ReLU; after training they are one convolution.

    Args:
        n_in: channels read.
        n_out: channels given.
        stride: of the convolution.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(n_out), nn.ReLU())

    def forward(
        self,
        x: Float[Tensor, "image channel y x"],
        coarse: Float[Tensor, "image more half_y half_x"] | None = None,
    ) -> Float[Tensor, "image n_out y2 x2"]:
        """The layer of the channels, and of those of a map of half the resolution after them."""
        plain = self.training or torch.compiler.is_compiling()  # who runs a graph joins its layers
        if coarse is not None and (plain or any(side % 2 for side in x.shape[-2:])):
            x, coarse = torch.cat([x, F.interpolate(coarse, x.shape[-2:], mode="nearest")], 1), None
        if plain:
            return super().forward(x)
        both = fuse_conv_bn_eval(cast("nn.Conv2d", self[0]), cast("nn.BatchNorm2d", self[1]))
        out = F.conv2d(x, both.weight[:, : x.shape[1]], both.bias, both.stride, padding=1)
        if coarse is not None:
            _add_enlarged(out, coarse, both.weight[:, x.shape[1] :])
        return out.relu_()


def _add_enlarged(out: Float[Tensor, "image n_out y x"], coarse: Tensor, weight: Tensor) -> None:
    """Add the convolution of 3×3 points of a map after it is enlarged twofold (nearest): at the map's own resolution.

    Each of the four pixels of a point sees 2×2 points: along an axis two taps of three fall on the same point. The
    sides of `out` are even: of a point that is cut, the last tap would have to be left out.
    """
    kernels = [kernel for of_rows in _merged(weight, 2) for kernel in _merged(of_rows, 3)]
    of_pixels = F.conv2d(coarse, torch.cat(kernels), padding=1).chunk(4, 1)
    for (y, x), of_pixel in zip(product(range(2), repeat=2), of_pixels, strict=True):
        part = out[..., y::2, x::2]
        part += of_pixel[..., y : y + part.shape[-2], x : x + part.shape[-1]]


def _merged(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Weights of the two points that the first pixel of a pair sees along an axis, and of those of the second."""
    before, at, after = weight.unbind(axis)
    return torch.stack([before, at + after], axis), torch.stack([before + at, after], axis)


def _cells(grid: tuple[int, int], turns: Sequence[int], device: torch.device) -> Int[Tensor, "#image cell"]:
    """Where each cell of a turned crop was before, as a position in the flattened grid."""
    before = torch.arange(grid[0] * grid[1], device=device).reshape(grid)
    return torch.stack([turned(before, turn) for turn in turns]).flatten(1)
