"""Multi-scale filters of an image, which a head sees beside the UNet's activations: colours, edges and textures.

They know a pixel's neighbourhood at the image's own resolution, which the UNet's deep blocks do not, and cost a second
an image. The cache and `predict` make them by this one function.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float16, UInt8
from skimage.feature import multiscale_basic_features

from ...cache.format.layout import N_FILTERS

SIGMA_MIN, SIGMA_MAX = 0.5, 8.0
"""Deviations in pixels of the finest and the coarsest Gaussian; each scale is twice the one before."""
MIN_STD = 1.0
"""Channels that vary by less than one step of 255 are shifted, not stretched."""


def image_filters(image: UInt8[np.ndarray, "y x 3"]) -> Float16[np.ndarray, "y x filter"]:
    """Intensity, edges and texture (two eigenvalues of the Hessian) at 0.5, 1, 2, 4 and 8 pixels, of each channel.

    Each channel is brought to mean 0 and deviation 1 over the image first, which takes most of the difference between
    stains away. The filters are scikit-image's `multiscale_basic_features`, computed in float32: the 20 of red come
    first, then those of green and blue.

    Args:
        image: RGB, at the model's size, as a row of the cache shows it: of a tile the tile alone.
    """
    filters = np.empty((*image.shape[:2], N_FILTERS), np.float16)
    for channel, out in enumerate(np.split(filters, image.shape[2], -1)):  # at once they would take thrice the memory
        values = image[..., channel].astype(np.float32)
        standardised = (values - values.mean(dtype=np.float64)) / max(values.std(dtype=np.float64), MIN_STD)
        out[:] = multiscale_basic_features(standardised.astype(np.float32), sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)
    return filters
