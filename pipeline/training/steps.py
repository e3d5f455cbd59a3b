"""All that a step of training reads, for each kind of head; drawn on the CPU, then on the head's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...stages.features.augmentation import ActivationJitter, ColourJitter
from ...stages.features.sampling import MapKey, Maps
from ..head_inputs.crops import CropBatch
from ..head_inputs.inputs import RowTexts
from ..head_inputs.pixels import PixelBatch


class PixelStep(NamedTuple):
    """A step of pixel heads."""

    batch: PixelBatch
    shown: Bool[Tensor, "image 1 all"] | None
    """Channels of blocks that are shown of each image; `None`: all."""
    regions: Float[Tensor, "image 4"]
    """Part of each image that the label map shows; the image's text describes the whole."""
    own: Sequence[slice | Int[Tensor, "own"]]
    """Each member's pixels."""
    texts: Sequence[RowTexts]
    """Each member's, after text dropout."""


class ContextStep(NamedTuple):
    """A step of context heads."""

    batch: CropBatch
    jitter: Mapping[MapKey, ActivationJitter | ColourJitter]
    """Block → its augmentation."""
    texts: Sequence[RowTexts]
    """Each member's, after text dropout."""


class PaperStep(NamedTuple):
    """A step of the paper's heads."""

    maps: Sequence[Maps]
    """Of each image, whole."""
    labels: UInt8[Tensor, "image y x"]
    texts: Sequence[RowTexts]
    """Each member's, after text dropout."""
