"""Everything that a head sees of one image, as one value: activations, size, text and region.

Where it comes from, a cache or the frozen UNet at work, a head does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from ..features.position import FULL_IMAGE, MapRegions, Region
from ..features.sampling import Maps


@dataclass(frozen=True, eq=False)
class HeadInput:
    """One image, tile or view for a head."""

    features: Maps
    """MapKey → its maps, channels last, one a timestep, each block at its own resolution."""
    size: tuple[int, int]
    """(y, x) of the logits."""
    tokens: Float[Tensor, "token dim"]
    """Of the text."""
    token_mask: Bool[Tensor, "token"]
    """True on real tokens; false throughout where there is no text."""
    region: Region | Float[Tensor, "4"] = FULL_IMAGE
    """Part of the image that the features show; the text describes the whole image."""

    @property
    def regions(self) -> MapRegions:
        """`region`, as heads take it of a batch."""
        return self.region[None] if isinstance(self.region, Tensor) else [self.region]
