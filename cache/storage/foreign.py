"""Arrays of Zarr that other programs wrote, read in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_array(path: Path) -> Any:  # noqa: ANN401
    """An array of Zarr 2 or 3, which decodes on indexing the chunks that the index touches, and keeps none.

    Its metadata are believed: shape, chunks and codecs have been looked at before.

    Args:
        path: of the array's folder.

    Raises:
        Exception: of nearly any kind, here and on indexing, if the array is broken.
    """
    import zarr  # is slow to import

    return zarr.open_array(str(path), mode="r")
