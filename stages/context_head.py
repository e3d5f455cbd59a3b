"""The context head: what a pixel's activations say is weighed with what those around it say.

Single pixels cannot tell the rim of one nucleus from the gap between two; shapes can. The label map is divided into
cells of 2×2 pixels, and each cell is projected, placed and guided by the text as a pixel of the pixel head is. Then
layers mix neighbours: 3×3 convolutions whose taps lie ever further apart and closer again (Yu 2016, arXiv 1511.07122).
They have no shortcuts: what a cell says by itself, which is easily learnt by heart, has no way around them. The
classifier gives the logits of the four pixels of a cell (sub-pixel convolution, Shi 2016, arXiv 1609.05158), so that
the detail of maps as fine as the label map, of which a cell reads all four pixels, is not lost.

Of the image's filters the head reads the colours alone: convolutions make their own filters of them, and colours can be
changed in training as another stain would change them. So can a block's activations, by the units that they are in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .head import GuidedHead, HeadSpec, Prepared
from .pixels import COLOURS, FILTERS, Maps, dense
from .place import WHOLE, Window

CELL = 2
"""Pixels of a cell along each axis."""
DILATIONS = (1, 2, 4, 2, 1)
"""Cells from one tap of a layer's convolution to the next: together they reach 10 cells, 20 pixels."""

Units = Mapping[int, tuple[Float[Tensor, "#image channel"], Float[Tensor, "#image channel"]]]
"""Block → mean and 1/deviation of its channels, by which they are standardised; of each image, or one for all."""


class ContextHead(GuidedHead):
    """Cross-attention to the text, convolutions over cells, and a classifier of the pixels of a cell."""

    def __init__(self, spec: HeadSpec) -> None:
        n_used = {block: len(COLOURS) if block == FILTERS else n for block, n in spec.channels.items()}
        super().__init__(spec, {block: n * CELL**2 if block in spec.fine else n for block, n in n_used.items()})
        self.mix = nn.Sequential(*(layer for dilation in DILATIONS for layer in _mixing(spec.width, dilation)))
        self.classifier = nn.Sequential(
            nn.BatchNorm2d(spec.width),
            nn.ReLU(),
            nn.Conv2d(spec.width, spec.n_classes * CELL**2, 1),
            nn.PixelShuffle(CELL),
        )

    def forward(
        self,
        prepared: Mapping[int, Float[Tensor, "image y x channel"]],
        size: tuple[int, int],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
        *,
        windows: Sequence[Window] = (WHOLE,),
        turn: int = 0,
        units: Units | None = None,
    ) -> Float[Tensor, "image n_classes y x"]:
        """Logits of whole pictures, or of crops.

        Args:
            prepared: as `prepare` gives them, of each picture.
            size: (y, x) of the label map; even.
            tokens: of each picture's text.
            mask: true on real tokens; false throughout where a picture has no text.
            windows: what each picture shows of the image that its text describes; a single one holds for all.
            turn: 0..7; neighbours are mixed in the picture turned by so many quarters, from 4 on flipped as well. The
                picture is square where it is turned.
            units: by which activations are standardised; `None`: the head's own.
        """
        grid = (size[0] // CELL, size[1] // CELL)
        projected = self._projected(prepared, grid, units or self.units)
        guided = self.guide(projected, _cells_of(grid, projected.device), grid, tokens, mask, windows=windows)
        cells = guided.unflatten(1, grid).movedim(-1, 1)
        turned = torch.rot90(cells.flip(-1) if turn >= 4 else cells, turn % 4, (-2, -1))
        mixed = torch.rot90(self.mix(turned), -(turn % 4), (-2, -1))
        logits: Tensor = self.classifier(mixed.flip(-1) if turn >= 4 else mixed)
        return logits

    @property
    def units(self) -> Units:
        """By which activations are standardised: those of the training images."""
        return {
            block: (
                used(block, self.get_buffer(f"mean_{block}")[None]),
                used(block, self.get_buffer(f"scale_{block}")[None]),
            )
            for block in self.spec.channels
        }

    def prepare(self, maps: Maps) -> Prepared:
        """The activations and colours as they are, in float32: they are standardised as they are projected."""
        return {block: used(block, torch.cat([dense(map_) for map_ in of], -1)).float() for block, of in maps.items()}

    def segment_prepared(
        self,
        prepared: Prepared,
        size: tuple[int, int],
        tokens: Float[Tensor, "token dim"],
        mask: Bool[Tensor, "token"],
        window: Window = WHOLE,
    ) -> Float[Tensor, "n_classes y x"]:
        """As `Head.segment`, all pixels at once."""
        picture = {block: map_[None] for block, map_ in prepared.items()}
        return self(picture, size, tokens[None], mask[None], windows=[window])[0]

    @torch.no_grad()
    def attend(
        self,
        prepared: Prepared,
        size: tuple[int, int],
        tokens: Float[Tensor, "token dim"],
        mask: Bool[Tensor, "token"],
        groups: Float[Tensor, "token group"],
        *,
        window: Window = WHOLE,
    ) -> Float[Tensor, "reading group y x"]:
        """As `Head.attend`; the pixels of a cell read together."""
        grid = (size[0] // CELL, size[1] // CELL)
        projected = self._projected({block: map_[None] for block, map_ in prepared.items()}, grid, self.units)
        placed = self._placed(projected, _cells_of(grid, projected.device), grid, [window])
        shares = self.attention.weights(placed, tokens[None], mask[None])[0] @ groups  # [head, cell, group]
        return shares.mT.unflatten(-1, grid).repeat_interleave(CELL, -2).repeat_interleave(CELL, -1)

    def _projected(
        self, prepared: Mapping[int, Tensor], grid: tuple[int, int], units: Units
    ) -> Float[Tensor, "image cell width"]:
        """The projections of all blocks, summed."""
        each = (self._project(block, map_, grid, units[block]) for block, map_ in prepared.items())
        return reduce(torch.add, each).flatten(1, 2)

    def _project(
        self, block: int, map_: Tensor, grid: tuple[int, int], unit: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "image y x width"]:
        """The projection of standardised activations; the units are taken into the weights, which is less work."""
        n_pixels = CELL**2 if block in self.spec.fine else 1
        mean, scale = (of.repeat(1, n_pixels) for of in unit)
        weight = self.get_parameter(f"projections.{block}.weight") * scale[:, None]  # [image or 1, width, channel]
        bias = self.get_parameter(f"projections.{block}.bias") - (weight @ mean[..., None])[..., 0]
        points = _by_cell(map_, grid) if block in self.spec.fine else map_
        projected = torch.einsum("nyxc,nwc->nyxw", points, weight.expand(len(points), -1, -1)) + bias[:, None, None]
        if projected.shape[1:3] == grid:
            return projected
        return F.interpolate(projected.movedim(-1, 1), grid, mode="bilinear").movedim(1, -1)


def used(block: int, map_: Float[Tensor, "*point channel"]) -> Float[Tensor, "*point used"]:
    """What the head reads of a map: of the image's filters the colours, of activations all."""
    return map_[..., COLOURS] if block == FILTERS else map_


def _by_cell(map_: Tensor, grid: tuple[int, int]) -> Float[Tensor, "image y x pixels_and_channels"]:
    """The pixels of each cell side by side."""
    return map_.unflatten(2, (grid[1], CELL)).unflatten(1, (grid[0], CELL)).transpose(2, 3).flatten(-3)


def _cells_of(grid: tuple[int, int], device: torch.device) -> Int[Tensor, "1 cell"]:
    return torch.arange(grid[0] * grid[1], device=device)[None]


def _mixing(width: int, dilation: int) -> list[nn.Module]:
    """A layer in which each cell becomes what it and the cells around it say."""
    convolution = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]
