"""Small pictures of samples with their masks, for the page of `check-data`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from ...cache.format.samples import IGNORE
from ...errors import DataError
from ..data.classes import Classes
from ..data.dataset import Sample
from ..image_files.intensities import IntensityWindow
from ..image_files.reading import Regions, open_image, open_mask
from ..images.resizing import resize_image, resize_labels
from ..reports.cases import class_colours, painted, veiled
from ..reports.gallery import SIDE, thumbnail_size
from ..reports.page import InlineImage, inline_image


def pictures_of(sample: Sample, classes: Classes, window: IntensityWindow | None) -> tuple[InlineImage, ...]:
    """A sample's image, and its mask drawn over it; the image alone where there is no mask that can be used."""
    height, width = sample.size
    image = small_image(open_image(sample.image, window))
    pictures = (inline_image(image, f"image, {height} x {width}", f"Image {sample.id}"),)
    if sample.mask is None:
        return pictures
    try:
        labels = small_labels(open_mask(sample.mask, classes.content), classes)
    except DataError:  # a problem of the data, which the page lists
        return pictures
    names = classes.names[1:]
    drawn = veiled(painted(image, labels, class_colours(names)), labels != IGNORE)
    shares = ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares_of(sample)[1:], strict=True))
    return (*pictures, inline_image(drawn, f"mask: {shares}", f"Mask of {sample.id} over its image: {shares}"))


def shares_of(sample: Sample) -> tuple[float, ...]:
    """Share of each class among the pixels of the sample's mask, 0..1."""
    return tuple(n / (sample.size[0] * sample.size[1]) for n in sample.n_pixels)


def small_image(regions: Regions) -> UInt8[np.ndarray, "y x 3"]:
    """An image with sides of at most `SIDE` pixels, read part by part."""
    small = np.zeros((*thumbnail_size(regions.size, SIDE), 3), np.uint8)
    for pixels, place in _parts(regions, small.shape[:2]):
        small[place] = resize_image(pixels, small[place].shape[:2])
    return small


def small_labels(regions: Regions, classes: Classes) -> UInt8[np.ndarray, "y x"]:
    """The labels of a mask at the size of `small_image`; small objects stay."""
    small = np.full(thumbnail_size(regions.size, SIDE), IGNORE, np.uint8)
    for values, place in _parts(regions, small.shape):
        small[place] = resize_labels(classes.labels(values), small[place].shape)
    return small


def _parts(regions: Regions, size: Sequence[int]) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
    """Pixels of each part of a file, and the rows and columns of a thumbnail of this size that show them."""
    for top, left, height, width in regions.boxes():
        place = _stretch(top, height, regions.size[0], size[0]), _stretch(left, width, regions.size[1], size[1])
        if all(one.start < one.stop for one in place):
            yield regions.read(top, left, height, width), place


def _stretch(start: int, length: int, n_source: int, n_target: int) -> slice:
    """The pixels of a shortened axis that show a stretch of it."""
    return slice(round(start * n_target / n_source), round((start + length) * n_target / n_source))
