"""The pixel head: every pixel is classified from the text and the frozen activations at its position.

The activations of each block are standardised and projected; the projections are summed, with a positional encoding
unless `position` is off. The text scales the projections, scales the encoding by itself, and shifts both
(`TextAttention`): it says which of the visible things are meant, and whether their position matters, so that it has to
multiply, not only add (as in FiLM, Perez 2018, arXiv 1709.07871). So far `GuidedHead`, the base of such heads; here a
feed-forward layer and an MLP give the logits of the classes.

A 1×1 projection commutes with bilinear interpolation: training projects sampled pixels, and dense prediction projects
each block at its own resolution first. The numbers are equal up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..features.position import FULL_IMAGE, MapRegions
from ..features.sampling import Interpolation, MapKey
from .attention import TextReader
from .base import GuidedHead, HeadSpec, Prepared
from .input import HeadInput

PIXELS_AT_ONCE = 4096


class PixelHead(GuidedHead):
    """Cross-attention to the text and a pixel classifier."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        width = spec.width
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.classifier = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, spec.n_classes)
        )

    def inputs(
        self, features: Mapping[MapKey, Float[Tensor, "image pixel channel"]]
    ) -> Float[Tensor, "image pixel all"]:
        """The standardised activations of all blocks side by side; the same for all members of an ensemble.

        Args:
            features: block → its activations as `gather` gives them.
        """
        return torch.cat([self.standardised(block, features[block]) for block in self.spec.channels], -1)

    def classify(
        self,
        projected: Float[Tensor, "image pixel width"],
        pixels: Int[Tensor, "image pixel"],
        size: tuple[int, int],
        read: TextReader,
        *,
        regions: MapRegions = (FULL_IMAGE,),
    ) -> Float[Tensor, "image pixel n_classes"]:
        """Logits from the summed projections; as `guide` takes them, of pixels of the label map."""
        x = self.guide(projected, pixels, size, read, regions=regions)
        x = x + self.feed_forward(x)
        return self.classifier(x)

    def forward(
        self,
        inputs: Float[Tensor, "image pixel all"],
        pixels: Int[Tensor, "image pixel"],
        size: tuple[int, int],
        tokens: Float[Tensor, "image token dim"],
        mask: Bool[Tensor, "image token"],
        *,
        regions: MapRegions = (FULL_IMAGE,),
    ) -> Float[Tensor, "image pixel n_classes"]:
        """Logits of sampled pixels from their `inputs`: the blocks are projected and summed as one matrix product."""
        weights: list[Tensor] = [self.get_parameter(f"projections.{block}.weight") for block in self.spec.channels]
        biases: list[Tensor] = [self.get_parameter(f"projections.{block}.bias") for block in self.spec.channels]
        projected = F.linear(inputs, torch.cat(weights, 1), torch.stack(biases).sum(0))
        return self.classify(projected, pixels, size, self.attention.reading(tokens, mask), regions=regions)

    def logits(self, prepared: Prepared, x: HeadInput) -> Float[Tensor, "1 n_classes y x"]:
        """As `GuidedHead.logits`: each block at its own resolution first, then a few thousand pixels at once."""
        read = self.attention.reading(x.tokens[None], x.token_mask[None])
        logits = [
            self.classify(projected, pixels, x.size, read, regions=x.regions)
            for projected, pixels in self._projected(prepared, x.size)
        ]
        # In one order in memory: what follows (softmax, interpolation) may differ in last bits with other strides.
        return torch.cat(logits, 1).float().mT.unflatten(-1, x.size).contiguous()

    def attention_maps_prepared(
        self, prepared: Prepared, x: HeadInput, words: Float[Tensor, "token word"]
    ) -> Float[Tensor, "name word y x"]:
        """As `Head.attention_maps`, a few thousand pixels at once."""
        weights = []
        for projected, pixels in self._projected(prepared, x.size):
            known = reduce(torch.add, self._known(projected, pixels, x.size, x.regions))
            weights.append(self.attention.weights(known, x.tokens[None], x.token_mask[None])[0] @ words)
        return torch.cat(weights, 1).mT.unflatten(-1, x.size)  # [head, pixel, word] → [head, word, y, x]

    def _projected(self, prepared: Prepared, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The summed projections [1, pixel, width] of a few thousand pixels at a time, and which pixels they are."""
        if torch.compiler.is_compiling():
            yield self._projected_at_once(prepared, size)
            return
        fine = {block: map_.flatten(0, 1) for block, map_ in prepared.items() if map_.shape[:2] == size}
        coarse = [self._project(block, map_) for block, map_ in prepared.items() if block not in fine]
        enlarged = Interpolation(coarse, size) if coarse else None
        pixels = torch.arange(size[0] * size[1], device=next(iter(prepared.values())).device)
        for part in (slice(start, start + PIXELS_AT_ONCE) for start in range(0, len(pixels), PIXELS_AT_ONCE)):
            projected = [self._project(block, map_[part]) for block, map_ in fine.items()]
            projected += [enlarged.at(part)] if enlarged else []
            yield reduce(torch.add, projected)[None], pixels[None, part]

    def _projected_at_once(self, prepared: Prepared, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """As `_projected`, of all pixels: in a graph, which is one step for any number of them."""
        projected = (self._project(block, map_).movedim(-1, 0)[None] for block, map_ in prepared.items())
        enlarged = (
            map_ if block in self.spec.fine else F.interpolate(map_, size, mode="bilinear")
            for block, map_ in zip(prepared, projected, strict=True)
        )
        summed = reduce(torch.add, enlarged).flatten(2).mT
        return summed, torch.arange(size[0] * size[1], device=summed.device)[None]

    def _project(self, block: MapKey, features: Float[Tensor, "*pixel channel"]) -> Float[Tensor, "*pixel width"]:
        projected: Tensor = self.projections[str(block)](self.standardised(block, features))
        return projected
