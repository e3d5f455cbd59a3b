"""Dice of images from class maps, for methods that are no heads; as `Trainer.validate` scores heads.

A class that an image's mask has and its labels at the model's size lack is missed, whatever is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int

from textdiff.components import FeatureReader, SampleRow

ClassMap = Int[np.ndarray, "y x"]


def n_classes_of(reader: FeatureReader) -> int:
    """Classes of a cache, background included."""
    return len(reader.manifest.classes["classes"])


def dice_of_images(
    reader: FeatureReader, rows: Sequence[SampleRow], predict: Callable[[SampleRow], ClassMap]
) -> dict[str, float]:
    """Image → Dice, mean over foreground classes; tiles of one image count together.

    Args:
        reader: the cache of the rows.
        rows: without augmentation.
        predict: gives the class indices of all pixels of a row.
    """
    n_classes = n_classes_of(reader)
    counts: dict[str, np.ndarray] = {}
    in_mask: dict[str, np.ndarray] = {}
    for row in rows:
        in_mask[row.parent] = np.resize(np.array(row.n_pixels or 0) > 0, n_classes)
        labels, predicted = reader.labels(row.row), np.asarray(predict(row))
        labelled = labels != reader.table.ignore
        pairs = labels[labelled].astype(np.int64) * n_classes + predicted[labelled]
        counted = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
        counts[row.parent] = counts.get(row.parent, 0) + counted
    return {image: _mean_dice(counted, in_mask[image]) for image, counted in counts.items()}


def _mean_dice(counts: Int[np.ndarray, "label predicted"], in_mask: Bool[np.ndarray, " class"]) -> float:
    """Mean over foreground classes; 1 for a class that is in neither."""
    hits, sizes = np.diag(counts)[1:], (counts.sum(0) + counts.sum(1))[1:]
    return float(np.where((sizes > 0) | in_mask[1:], 2 * hits / np.maximum(sizes, 1), 1.0).mean())


def trivial_dice(reader: FeatureReader, rows: Sequence[SampleRow]) -> float:
    """Mean Dice over images of the best class map that is one class everywhere: trained methods must beat it."""
    side = reader.manifest.features.image_size
    maps = [np.full((side, side), label) for label in range(n_classes_of(reader))]
    return max(float(np.mean([*dice_of_images(reader, rows, lambda _, one=one: one).values()])) for one in maps)
