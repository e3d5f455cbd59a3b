"""Activations made small: eight bits with a scale for each channel, and fewer channels by principal components.

Both may be used together: components first, then eight bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int8
from torch import Tensor

from ...errors import ConfigError
from ..seeds import named_generator

STEPS = 127
"""int8 without -128, so that the range is symmetric."""
FIT_IMAGES = 32
FIT_PIXELS_PER_IMAGE = 512


def quantise(
    x: Float[Tensor, "image y x channel"],
) -> tuple[Int8[Tensor, "image y x channel"], Float32[Tensor, "image channel"]]:
    """Each image's channels in eight bits: x ≈ values × scale, off by at most half a scale.

    Returns:
        values in [-127, 127], and scale = max |x| / 127 over the image's pixels: 0 where a channel is 0 throughout
        (or below 127 times the smallest normal float32), NaN or infinite where a channel holds such a number.
    """
    absmax = torch.maximum(x.amax((1, 2)), -x.amin((1, 2))).float()
    scale = absmax / STEPS
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, 0.0, scale)
    inverse = torch.where(scale > 0, scale.reciprocal(), 0.0)
    values = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    for image, factor, out in zip(x, inverse, values, strict=True):  # one at a time stays in the processor's cache
        out.copy_((image * factor).round_())
    return values, scale


@dataclass(frozen=True)
class Projection:
    """The principal components of a block's channels at one timestep."""

    mean: Float32[Tensor, " channel"]
    components: Float32[Tensor, "k channel"]
    """Orthonormal, by falling variance."""

    def apply(self, activations: Float[Tensor, "*place channel"]) -> Float32[Tensor, "*place k"]:
        """(activations - mean) · componentsᵀ."""
        offset = self.components @ self.mean
        return F.linear(activations.float(), self.components, -offset)

    def to(self, device: str) -> Projection:
        """The same on another device."""
        return Projection(self.mean.to(device), self.components.to(device))

    def to_rows(self) -> Float32[Tensor, "1+k channel"]:
        """As a cache and a run keep it: the mean, then the components."""
        return torch.cat([self.mean[None], self.components])

    @classmethod
    def from_rows(cls, rows: Float32[Tensor, "1+k channel"]) -> Projection:
        """The inverse of `to_rows`."""
        # In one order in memory wherever they come from: with other strides, last bits of `apply` differ.
        mean, components = (part.clone(memory_format=torch.contiguous_format) for part in (rows[0], rows[1:]))
        return cls(mean, components)


def fit_projection(pixels: Float[Tensor, "pixel channel"], n_components: int) -> Projection:
    """Principal component analysis (scikit-learn's, from the covariance in float64); equal pixels give equal signs.

    Raises:
        ConfigError: if there are fewer pixels or channels than components, or a number is not finite.
    """
    from sklearn.decomposition import PCA  # half a second that caches without PCA need not spend

    if min(pixels.shape) < n_components:
        n_pixels, n_channels = pixels.shape
        raise ConfigError(
            f"--pca got {n_components}; {n_pixels} pixels of training images with {n_channels} channels give "
            f"{min(pixels.shape)} components at most: lower it"
        )
    if not pixels.isfinite().all():
        raise ConfigError("--pca: activations of training images are NaN or infinite; leave their block out")
    pca = PCA(n_components, svd_solver="covariance_eigh").fit(pixels.double().numpy())
    return Projection.from_rows(torch.from_numpy(np.vstack([pca.mean_, pca.components_])).float())


def choose_fit_images(ids: Sequence[str], seed: int) -> tuple[str, ...]:
    """The training images that projections are fitted on: at most 32, the same for any order of `ids`."""
    ordered = sorted(ids)
    drawn = torch.randperm(len(ordered), generator=named_generator(seed, "pca", "images"))[:FIT_IMAGES]
    return tuple(ordered[i] for i in sorted(drawn.tolist()))


def choose_fit_pixels(
    activations: Float[Tensor, "image y x channel"], ids: Sequence[str], seed: int, block: int | str, timestep: int
) -> Float32[Tensor, "pixel channel"]:
    """At most 512 pixels of each image, drawn by its id, so that no batch's composition matters; on the CPU."""
    chosen = []
    for image, name in zip(activations, ids, strict=True):
        flat = image.flatten(0, 1)
        generator = named_generator(seed, "pca", block, timestep, name)
        drawn = torch.randperm(len(flat), generator=generator)[:FIT_PIXELS_PER_IMAGE]
        chosen.append(flat[drawn.to(flat.device)].float().cpu())
    return torch.cat(chosen)
