"""Region of the whole image, which a text describes, that a row of the cache shows."""

from __future__ import annotations

from ...stages.features.position import FULL_IMAGE, Region
from ..image_files.source import Offset
from ..views.symmetries import FLIP, MIRROR, TRANSPOSE, View


def region_of(size: tuple[int, int], tile: int | None, offset: Offset, view: View) -> Region:
    """The region of a tile, or of an uncut image, in the whole image turned as the view turns it.

    Args:
        size: height and width of the image in pixels, as it is.
        tile: side of a tile in pixels; `None`: the image was not cut.
        offset: (y, x) of the tile in the image as it is.
        view: of the row; its text describes the whole image turned so.
    """
    if tile is None:
        return FULL_IMAGE
    down, across = ((start / length, tile / length) for start, length in zip(offset, size, strict=True))
    down = _reversed(*down) if view & FLIP else down
    across = _reversed(*across) if view & MIRROR else across
    (top, height), (left, width) = (across, down) if view & TRANSPOSE else (down, across)
    return Region(top, left, height, width)


def _reversed(start: float, extent: float) -> tuple[float, float]:
    return 1 - start - extent, extent
