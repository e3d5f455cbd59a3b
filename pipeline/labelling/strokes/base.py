"""Mask that an image of the data set has already, as label tiles; read when somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...data.classes import Classes
from ...image_files.reading import Regions, open_mask
from ..byte_cache import ByteCache
from .tiles import Key, empty_labels, halve_labels, level_box, quarters

_KEPT_BYTES = 2**25


class BaseLabels:
    """Labels of a mask file. Safe in threads."""

    def __init__(self, path: Path, classes: Classes, size: tuple[int, int]) -> None:
        """Of a mask, the classes that its values stand for, and the image's height and width."""
        self._size = size
        self._open: Callable[[], Regions] = lambda: open_mask(path, classes.content)
        self._classes = classes
        self._mask: Regions | None = None
        self._tiles: ByteCache[UInt8[np.ndarray, "256 256"]] = ByteCache(_KEPT_BYTES)
        self._lock = threading.Lock()

    def tile(self, key: Key) -> UInt8[np.ndarray, "256 256"]:
        """Labels of a tile of any level that begins in the image, IGNORE beyond it.

        Raises:
            DataError: The mask cannot be read, or holds a value that no class has.
        """
        with self._lock:
            return self._at(key)

    def _at(self, key: Key) -> UInt8[np.ndarray, "256 256"]:
        if (kept := self._tiles.get(key)) is not None:
            return kept
        tile = empty_labels()
        if key[0] == 0:
            if self._mask is None:
                self._mask = self._open()
            box = level_box(self._size, key)
            assert box is not None
            tile[: box[2], : box[3]] = self._classes.labels(self._mask.read(*box))
        else:
            for finer, part in quarters(key):
                if level_box(self._size, finer) is not None:
                    tile[part] = halve_labels(self._at(finer))
        tile.setflags(write=False)
        self._tiles.put(key, tile, tile.nbytes)
        return tile
