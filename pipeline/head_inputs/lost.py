"""Classes that a sample's mask has and its labels in the cache lack: scores count their pixels as false negatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from ...cache.building.derived import LABELS_ARE
from ...cache.format.samples import SampleRow, parents
from ...cache.reader import FeatureReader
from .splits import originals


def older_labels(reader: FeatureReader) -> str:
    """A warning of labels that were made in another way than now, and may lack small objects without a word."""
    spec = reader.manifest.features
    shrunk = any(row.mask_digest and (spec.tile or max(row.size)) > spec.image_size for row in reader.samples)
    if reader.manifest.labels_are == LABELS_ARE or not shrunk:
        return ""
    return (
        f"the labels of {reader.root} are of an older version, which left out objects smaller than a "
        "pixel, and scores hide it; give extract-features the same data and settings again: it makes labels anew "
        "without the UNet"
    )


def lost_pixels(reader: FeatureReader, rows: Iterable[SampleRow]) -> dict[str, Mapping[int, int]]:
    """Id of each sample that the rows are of → its lost foreground classes with their pixels in the mask, mostly none.

    Caches that do not count the pixels of masks lose nothing that is known.
    """
    of_parent: dict[str, list[SampleRow]] = {parent: [] for parent in parents([*rows])}
    for row in originals(reader.samples):
        if row.parent in of_parent:
            of_parent[row.parent].append(row)
    return {parent: _lost(reader, siblings) for parent, siblings in of_parent.items()}


def _lost(reader: FeatureReader, siblings: Iterable[SampleRow]) -> Mapping[int, int]:
    """Of one sample, given all its tiles."""
    siblings = [*siblings]
    in_mask = {label: n for label, n in enumerate(siblings[0].n_pixels) if label and n}
    for row in siblings:
        in_mask = {label: n for label, n in in_mask.items() if not (reader.labels(row.row) == label).any()}
        if not in_mask:
            break
    return in_mask


def false_negatives(lost: Mapping[int, int], n_classes: int, scale: float = 1.0) -> Int[Tensor, "label predicted"]:
    """Confusion counts of lost classes, predicted as background, whatever a head says.

    Args:
        lost: of a sample.
        n_classes: background included.
        scale: pixels that are scored for one of the mask; a class gets at least one in all.
    """
    counts = torch.zeros(n_classes, n_classes, dtype=torch.long)
    for label, n in lost.items():
        counts[label, 0] = max(1, round(n * scale))
    return counts
