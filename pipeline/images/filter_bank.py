"""Multi-scale filters of an image, which a head sees beside the UNet's activations: colours, edges and textures.

They know a pixel's neighbourhood at the image's own resolution, which the UNet's deep blocks do not. The cache and
`predict` make them by this one function, in the thread that calls it: beside a model whose threads fill the processor.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float16, Float32, UInt8
from scipy import ndimage

SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Deviations of the Gaussians in pixels."""
MIN_STD = 1.0
"""Channels that vary by less than one step of 255 are shifted, not stretched."""
BAND_PIXELS = 1 << 14
"""Filters of so many pixels are interleaved at once, in the processor's cache: half the time at 512 pixels."""

_Plane = Float32[np.ndarray, "y x"]


def image_filters(image: UInt8[np.ndarray, "y x 3"]) -> Float16[np.ndarray, "y x filter"]:
    """Intensity, edges and texture (two eigenvalues of the Hessian) at 0.5, 1, 2, 4 and 8 pixels, of each channel.

    Each channel is brought to mean 0 and deviation 1 over the image first, which takes most of the difference between
    stains away. The filters are those of scikit-image's `multiscale_basic_features`, bit by bit, in 0.6 to 0.7 of
    its CPU time: the 20 of red come first, then those of green and blue.

    Args:
        image: RGB, at the model's size, as a row of the cache shows it: of a tile the tile alone.
    """
    filters = np.empty((*image.shape[:2], image.shape[2] * 4 * len(SIGMAS)), np.float16)
    n_rows = max(1, BAND_PIXELS // image.shape[1])
    for channel, out in enumerate(np.split(filters, image.shape[2], -1)):  # at once they would take thrice the memory
        planes = _planes(image[..., channel])
        for top in range(0, len(image), n_rows):
            for number, plane in enumerate(planes):
                out[top : top + n_rows, :, number] = plane[top : top + n_rows]
    return filters


def _planes(channel: UInt8[np.ndarray, "y x"]) -> list[_Plane]:
    values = channel.astype(np.float32)
    mean, std = values.mean(dtype=np.float64), max(values.std(dtype=np.float64), MIN_STD)
    standardised = ((values - mean) / std).astype(np.float32)
    planes: list[_Plane] = []
    for sigma in SIGMAS:
        smooth = ndimage.gaussian_filter(standardised, sigma, mode="nearest")
        planes += [smooth, _edges(smooth), *_textures(smooth)]
    return planes


def _edges(smooth: _Plane) -> _Plane:
    """Sobel's gradient magnitude."""
    padded = np.pad(smooth, 1, mode="edge").astype(np.float64)  # sums are exact: each derivative is rounded once
    across, down = padded[:, :-1] + padded[:, 1:], padded[:-1] + padded[1:]
    across, down = across[:, :-1] + across[:, 1:], down[:-1] + down[1:]  # neighbours weigh 1 : 2 : 1
    along_y = ((across[2:] - across[:-2]) / 4).astype(np.float32)
    along_x = ((down[:, 2:] - down[:, :-2]) / 4).astype(np.float32)
    return np.sqrt(along_y**2 + along_x**2) / np.sqrt(np.float32(2))


def _textures(smooth: _Plane) -> tuple[_Plane, _Plane]:
    """Eigenvalues of the Hessian, the larger one first."""
    along_y, along_x = np.gradient(smooth)
    yy, yx = np.gradient(along_y)
    xx = np.gradient(along_x, axis=1)
    mean, spread = (yy + xx) / 2, np.sqrt(yx**2 + ((yy - xx) / 2) ** 2)
    return mean + spread, mean - spread
