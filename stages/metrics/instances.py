"""Objects instead of pixels: touching objects split, and the match of predicted objects with true ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed
from torch import Tensor

NECK = 0.9
"""Two parts are two objects where the way between them narrows below this share of the smaller one's half-width.

On MoNuSeg's 30 masks with 21,623 annotated nuclei: 17,779 connected components, and 21,329 objects with this.
"""


def split_objects(mask: Bool[np.ndarray, "y x"]) -> Int[np.ndarray, "y x"]:
    """Number the objects of a mask, those that touch one by one.

    A watershed on the distance d to the background (beyond the image is background). Its markers are the maxima of
    log(1 + d) that stand out by -log(`NECK`): by a ratio, so that the image's resolution does not matter, and with one
    pixel added, lest jagged borders of small objects count.

    Returns:
        int32; 0 is the background, objects are 1, 2, ...
    """
    distance: np.ndarray = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    height = np.log1p(distance)
    # Maxima that stand out: the regional maxima of what is left when all are lowered and grown back under the surface.
    peaks = local_maxima(reconstruction(height + math.log(NECK), height)) & mask
    markers, _ = ndimage.label(peaks, np.ones((3, 3)))
    across_sides = watershed(-height, markers, mask=mask)
    # A pixel that touches its object at a corner alone is reached by the second round, and none is lost.
    objects: np.ndarray = watershed(-height, across_sides, connectivity=2, mask=mask)
    return objects


def aggregated_jaccard(truth: Int[np.ndarray, "y x"], predicted: Int[np.ndarray, "y x"]) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017, IEEE TMI 36(7), algorithm 1).

    Every true object takes the predicted one of highest IoU; intersections over unions, added up over objects, and in
    the union also the true objects that nothing overlaps and the predicted ones that none has taken. As in the paper,
    several true objects may take the same predicted one.

    Args:
        truth: numbered objects, 0 is the background.
        predicted: as `truth`; its numbers are independent of those of `truth`.

    Returns:
        In [0, 1]; nan where there are no objects in either.
    """
    overlaps = _Overlaps.of(truth, predicted)
    if not len(overlaps.true_area) and not len(overlaps.predicted_area):
        return math.nan
    order = np.lexsort((overlaps.iou, overlaps.true))
    best = order[np.append(np.diff(overlaps.true[order]) > 0, True)] if len(order) else order
    false_negative = np.delete(overlaps.true_area, overlaps.true[best]).sum()
    false_positive = np.delete(overlaps.predicted_area, overlaps.predicted[best]).sum()
    return float(overlaps.area[best].sum() / (overlaps.union[best].sum() + false_negative + false_positive))


def match_objects(truth: Int[np.ndarray, "y x"], predicted: Int[np.ndarray, "y x"]) -> Float[Tensor, "3"]:
    """Match objects where their IoU is above 0.5, which no object can have with two.

    Args:
        truth: numbered objects, 0 is the background.
        predicted: as `truth`; its numbers are independent of those of `truth`.

    Returns:
        float64: sum of the matched pairs' IoUs, number of these pairs, number of objects of both. They add up over
        images.
    """
    overlaps = _Overlaps.of(truth, predicted)
    matched = overlaps.iou[overlaps.iou > 0.5]
    n_objects = len(overlaps.true_area) + len(overlaps.predicted_area)
    return torch.tensor([matched.sum(), len(matched), n_objects], dtype=torch.float64)


@dataclass(frozen=True)
class _Overlaps:
    """Objects by index, in order of their numbers, and the pairs that share pixels."""

    true_area: Int[np.ndarray, "true"]
    predicted_area: Int[np.ndarray, "predicted"]
    true: Int[np.ndarray, "pair"]
    predicted: Int[np.ndarray, "pair"]
    area: Int[np.ndarray, "pair"]

    @property
    def union(self) -> Int[np.ndarray, "pair"]:
        union: np.ndarray = self.true_area[self.true] + self.predicted_area[self.predicted] - self.area
        return union

    @property
    def iou(self) -> Float[np.ndarray, "pair"]:
        return self.area / self.union

    @classmethod
    def of(cls, truth: Int[np.ndarray, "y x"], predicted: Int[np.ndarray, "y x"]) -> Self:
        true_ids, true_area = np.unique(truth[truth > 0], return_counts=True)
        predicted_ids, predicted_area = np.unique(predicted[predicted > 0], return_counts=True)
        shared = (truth > 0) & (predicted > 0)
        indices = np.searchsorted(true_ids, truth[shared]), np.searchsorted(predicted_ids, predicted[shared])
        pairs, area = np.unique(np.stack(indices), axis=1, return_counts=True)
        return cls(true_area, predicted_area, pairs[0], pairs[1], area)
