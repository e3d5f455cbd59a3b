"""Labels of a row from what was drawn on its image, made exactly as extraction makes them from a mask file."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor

from ....cache.format.samples import SampleRow
from ....cache.format.spec import FeatureSpec
from ...data.masks.lost_classes import LabelSize
from ...image_files.source import Box
from ..predictor.grid import overlap
from ..strokes.raster import LabelRaster


def row_labels(raster: LabelRaster, row: SampleRow, spec: FeatureSpec) -> UInt8[Tensor, "side side"] | None:
    """Label map of a row, IGNORE where nothing was said; `None`: nothing of it is labelled.

    Args:
        raster: of the row's image.
        row: of the cache, in view 0.
        spec: of the cache.
    """
    size = LabelSize(spec.image_size, spec.tile)
    box, labelled = size.box(row.size, row.tile), raster.box
    if labelled is None or not overlap(box, labelled):
        return None
    return torch.from_numpy(size.of_part(raster.read(*box)))


def shows(row: SampleRow, spec: FeatureSpec, box: Box | None) -> bool:
    """Whether a row shows a part of its image; `None`: any."""
    return box is None or overlap(LabelSize(spec.image_size, spec.tile).box(row.size, row.tile), box)
