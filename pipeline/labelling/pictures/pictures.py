"""Pictures of all images as JPEG: tiles and thumbnails."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ....errors import LabelError
from ...image_files.intensities import IntensityWindow
from ...image_files.reading import open_image
from ..byte_cache import ByteCache
from ..data_set.images import ImageEntry
from ..strokes.tiles import Key, level_box
from .pyramid import Pyramid

THUMBNAIL = 160
QUALITY = 90
_KEPT_IMAGES_BYTES, _KEPT_JPEG_BYTES = 2**29, 2**26


class Pictures:
    """Pictures of a session's images, made when they are asked for. Safe in threads."""

    def __init__(self, images: Sequence[ImageEntry], window: IntensityWindow | None = None) -> None:
        """Of images; those of more than 8 bits are seen through the window."""
        self._images, self._window = images, window
        self._opened: ByteCache[Pyramid] = ByteCache(_KEPT_IMAGES_BYTES)
        self._encoded: ByteCache[bytes] = ByteCache(_KEPT_JPEG_BYTES)

    def tile(self, image: int, key: Key) -> bytes:
        """A tile, cut at the image's border.

        Raises:
            LabelError: It lies outside.
            DataError: The file cannot be read.
        """
        if level_box(self._images[image].size, key) is None:
            level, column, row = key
            raise LabelError(
                "the tile does not exist", f"{level}/{column}_{row}", "one in the image", "reload", "absent"
            )
        if (kept := self._encoded.get((image, key))) is not None:
            return kept
        return self._encode((image, key), self._pyramid(image).tile(key))

    def thumbnail(self, image: int) -> bytes:
        """The whole image, 160 pixels along its longer side.

        Raises:
            DataError: The file cannot be read.
        """
        if (kept := self._encoded.get((image, None))) is not None:
            return kept
        return self._encode((image, None), self._pyramid(image).shrunk(THUMBNAIL))

    def _pyramid(self, image: int) -> Pyramid:
        if (opened := self._opened.get(image)) is None:
            opened = Pyramid(self._images[image].path, open_image(self._images[image].path, self._window))
            self._opened.put(image, opened, opened.size_bytes)
        return opened

    def _encode(self, key: tuple[int, Key | None], pixels: UInt8[np.ndarray, "y x 3"]) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
        content = buffer.getvalue()
        self._encoded.put(key, content, len(content))
        return content
