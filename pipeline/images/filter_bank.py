"""Multi-scale filters of an image, which a head sees beside the UNet's activations: colours, edges and textures.

They know a pixel's neighbourhood at the image's own resolution, which the UNet's deep blocks do not. The cache and
`predict` make them by this one function, in the thread that calls it: beside a model whose threads fill the processor.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8
from scipy import ndimage

SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Deviations of the Gaussians in pixels."""
MIN_STD = 1.0
"""Channels that vary by less than one step of 255 are shifted, not stretched."""

Plane = Float32[np.ndarray, "y x"]


def image_filters(image: UInt8[np.ndarray, "y x 3"]) -> Float16[np.ndarray, "y x filter"]:
    """Intensity, edges and texture (two eigenvalues of the Hessian) at 0.5, 1, 2, 4 and 8 pixels, of each channel.

    Each channel is brought to mean 0 and deviation 1 over the image first, which takes most of the difference between
    stains away. The filters are those of scikit-image's `multiscale_basic_features`, bit by bit, in 0.4 to 0.6 of its
    time: the 20 of red come first, then those of green and blue.

    Args:
        image: RGB, at the model's size, as a row of the cache shows it: of a tile the tile alone.
    """
    of_channels = torch.empty((*image.shape, 4 * len(SIGMAS)), dtype=torch.float16)
    for channel in range(image.shape[2]):  # at once they would take thrice the memory
        planes = torch.from_numpy(np.stack(_planes(image[..., channel])))
        of_channels[:, :, channel] = planes.permute(1, 2, 0)  # torch rounds and transposes in one pass
    return of_channels.flatten(2).numpy()


def _planes(channel: UInt8[np.ndarray, "y x"]) -> list[Plane]:
    values = channel.astype(np.float32)
    standardised = (values - values.mean(dtype=np.float64)) / max(values.std(dtype=np.float64), MIN_STD)
    planes: list[Plane] = []
    for sigma in SIGMAS:
        smooth = ndimage.gaussian_filter(standardised.astype(np.float32), sigma, mode="nearest")
        planes += [smooth, _edges(smooth), *_textures(smooth)]
    return planes


def _edges(smooth: Plane) -> Plane:
    """Sobel's gradient magnitude."""
    padded = np.pad(smooth, 1, mode="edge").astype(np.float64)  # each derivative is rounded once
    down, across = padded[2:] - padded[:-2], padded[:, 2:] - padded[:, :-2]
    along_y = (down[:, :-2] + down[:, 2:]) / 4 + down[:, 1:-1] / 2
    along_x = (across[:-2] + across[2:]) / 4 + across[1:-1] / 2
    return np.sqrt(along_y.astype(np.float32) ** 2 + along_x.astype(np.float32) ** 2) / np.sqrt(np.float32(2))


def _textures(smooth: Plane) -> tuple[Plane, Plane]:
    """Eigenvalues of the Hessian, the larger one first."""
    along_y, along_x = np.gradient(smooth)
    yy, yx = np.gradient(along_y)
    xx = np.gradient(along_x, axis=1)
    mean, spread = (yy + xx) / 2, np.sqrt(yx**2 + ((yy - xx) / 2) ** 2)
    return mean + spread, mean - spread
