"""Dice of images from class maps, for methods that are no heads; as `Trainer.validate` scores heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from textdiff import FeatureReader, SampleRow

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
    for row in rows:
        labels, predicted = reader.labels(row.row), np.asarray(predict(row))
        labelled = labels != reader.table.ignore
        pairs = labels[labelled].astype(np.int64) * n_classes + predicted[labelled]
        counted = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
        counts[row.parent] = counts.get(row.parent, 0) + counted
    return {image: _mean_dice(counted) for image, counted in counts.items()}


def _mean_dice(counts: Int[np.ndarray, "label predicted"]) -> float:
    """Mean over foreground classes; 1 for a class that is in neither."""
    hits, sizes = np.diag(counts)[1:], (counts.sum(0) + counts.sum(1))[1:]
    return float(np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 1.0).mean())
