"""Image to rows: the views of a whole image or of its tiles, each one input of the UNet and one row of a cache.

Extraction and prediction share this, so that cached features are those of new images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ...cache.format.spec import FeatureSpec
from ...stages.features.position import Region
from ..head_inputs.regions import region_of
from ..image_files.source import ImageReader, Offset
from ..images.resizing import resize_image
from ..images.tiling import read_tile, tile_offsets
from ..views.symmetries import View
from ..views.text_rewriting import rewrite_sides
from ..views.transforms import turn


@dataclass(frozen=True)
class Row:
    """One view of a whole image, or of a tile of it."""

    id: str
    """The sample's id; of a tile, with its offset; of another view than 0, with its number. Names the noise."""
    offset: Offset | None
    """Of the tile; `None`: the whole image."""
    view: View
    text: str | None
    """The sample's, rewritten for the view; `None`: no text."""
    region: Region
    """Rectangle that the row shows of the image in that view, which the text describes."""


def rows_of(
    sample_id: str, size: tuple[int, int], text: str | None, spec: FeatureSpec, views: Iterable[View]
) -> Iterator[Row]:
    """Rows of an image: tile by tile, and of each tile the views for which the text can be rewritten.

    Args:
        sample_id: of the image.
        size: its height and width in pixels.
        text: of the image; `None`: no text, and every view.
        spec: gives the tiles' side and overlap.
        views: to be had.
    """
    texts = {view: None if text is None else rewrite_sides(text, view) for view in views}
    for offset in tiles_of(size, spec):
        for view, rewritten in texts.items():
            if text is None or rewritten is not None:
                region = region_of(size, spec.tile, offset or (0, 0), view)
                yield Row(_row_id(sample_id, offset, view), offset, view, rewritten, region)


def tiles_of(size: tuple[int, int], spec: FeatureSpec) -> tuple[Offset | None, ...]:
    """Offsets of an image's tiles, row by row; a single `None` where images are not cut."""
    return (None,) if spec.tile is None else tile_offsets(size, spec.tile, spec.tile_overlap)


def read_row(image: ImageReader, row: Row, spec: FeatureSpec) -> UInt8[np.ndarray, "side side 3"]:
    """A row's pixels at the model's size; a tile at the image's border is completed by reflection."""
    return turn(read_upright(image, row.offset, spec), row.view)


def read_upright(image: ImageReader, offset: Offset | None, spec: FeatureSpec) -> UInt8[np.ndarray, "side side 3"]:
    """`read_row` in view 0."""
    size = spec.image_size, spec.image_size
    if offset is None or spec.tile is None:
        return resize_image(image.read(0, 0, *image.size), size)
    return resize_image(read_tile(image, offset, spec.tile), size)


def _row_id(sample_id: str, offset: Offset | None, view: View) -> str:
    tile = "" if offset is None else f"@{offset[0]},{offset[1]}"
    return f"{sample_id}{tile}~{view}" if view else f"{sample_id}{tile}"
