"""Pictures of all images as JPEG: tiles and thumbnails."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ....errors import LabelError, TextdiffError
from ...image_files.intensities import IntensityWindow
from ..byte_cache import ByteCache
from ..data_set.images import ImageEntry
from ..strokes.tiles import Key, level_box
from .levels import open_copies
from .pyramid import Pyramid
from .survey import SlideSurvey

THUMBNAIL = 160
QUALITY = 90
_OPENED_BYTES, _ENCODED_BYTES = 2**29, 2**26


class Pictures:
    """Pictures of a session's images, made when they are asked for. Safe in threads."""

    def __init__(self, images: Sequence[ImageEntry], window: IntensityWindow | None = None) -> None:
        """Of images; those of more than 8 bits are seen through the window."""
        self._images, self._window = images, window
        self._opened: ByteCache[Pyramid] = ByteCache(_OPENED_BYTES)
        self._encoded: ByteCache[bytes] = ByteCache(_ENCODED_BYTES)
        self._opening = threading.Lock()
        self._surveyed: set[int] = set()
        self._stopped = threading.Event()
        self._listeners: list[Callable[[int], None]] = []

    def listen(self, call: Callable[[int], None]) -> None:
        """Call it with an image's number when its coarse tiles are sharper than those that were given out."""
        self._listeners.append(call)

    def stop(self) -> None:
        """Let nobody wait for what is not read yet: the server ends."""
        self._stopped.set()

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
        pyramid = self._pyramid(image)
        is_sharp = pyramid.sharpness(key[0]) == 2  # before the look
        content = _encoded(pyramid.tile(key))
        if is_sharp:
            self._encoded.put((image, key), content, len(content))
        elif pyramid.survey is not None:
            self._finish(image, pyramid.survey)
        return content

    def thumbnail(self, image: int) -> bytes:
        """The whole image, 160 pixels along its longer side.

        Raises:
            DataError: The file cannot be read.
        """
        if (kept := self._encoded.get((image, None))) is not None:
            return kept
        pyramid = self._pyramid(image)
        if pyramid.survey is not None:
            pyramid.survey.wait(2)
        content = _encoded(pyramid.shrunk(THUMBNAIL))
        self._encoded.put((image, None), content, len(content))
        return content

    def _pyramid(self, image: int) -> Pyramid:
        with self._opening:  # a file of many pixels is not decoded twice
            if (opened := self._opened.get(image)) is None:
                opened = Pyramid(open_copies(self._images[image].path, self._window), self._stopped)
                self._opened.put(image, opened, opened.size_bytes)
        return opened

    def _finish(self, image: int, survey: SlideSurvey) -> None:
        """Complete a survey behind the back of those who look at its blurred tiles."""
        with self._opening:
            if image in self._surveyed:
                return
            self._surveyed.add(image)
        threading.Thread(target=self._survey, args=(image, survey), name=f"survey {image}", daemon=True).start()

    def _survey(self, image: int, survey: SlideSurvey) -> None:
        try:
            version = survey.version
            while survey.advance():
                if survey.version != version:
                    version = survey.version
                    self._tell(image)
            survey.wait(2)
        except TextdiffError:
            pass  # who asks for the tiles gets the error
        with self._opening:
            self._surveyed.discard(image)
        self._tell(image)

    def _tell(self, image: int) -> None:
        for listener in self._listeners:
            listener(image)


def _encoded(pixels: UInt8[np.ndarray, "y x 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
