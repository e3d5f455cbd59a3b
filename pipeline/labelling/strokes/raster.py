"""Label image of an image: its data set's mask, and the strokes that stand, one after the other.

Sparse: pixels are made tile by tile when somebody looks, from a tile's own strokes. A packed copy of a tile is kept
after every few strokes, so that taking back the last of thousands repeats a few. Strokes come and go at the end alone.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from ....cache.format.samples import IGNORE
from ...image_files.source import Box
from ..byte_cache import ByteCache
from .base import BaseLabels
from .shapes import Mark, box_of, paint
from .tiles import TILE, Key, empty_labels, halve_labels, level_box, n_levels_of, quarters, touched_tiles

_BETWEEN_COPIES = 32

Tile = UInt8[np.ndarray, "256 256"]


@dataclass
class _Pixels:
    """A native tile after its first `n` strokes."""

    n: int
    last: Mark | None
    """The last of them: strokes go at the end alone, so that the same one at its place means the same before it."""
    pixels: Tile

    def holds_for(self, marks: list[Mark]) -> bool:
        return self.n == 0 or (self.n <= len(marks) and marks[self.n - 1] is self.last)


@dataclass
class _Strokes:
    """Strokes in a native tile."""

    marks: list[Mark] = field(default_factory=list)
    copies: list[tuple[int, Mark, bytes]] = field(default_factory=list)
    """After how many strokes, the last of them, the packed pixels."""


class TileCaches:
    """Pixels that may be made again, of all images of a session."""

    def __init__(self, limit_bytes: int = 2**28) -> None:
        self.native: ByteCache[_Pixels] = ByteCache(limit_bytes // 2)
        self.coarse: ByteCache[tuple[int, Tile]] = ByteCache(limit_bytes // 2)
        """With the number of changes that a tile had seen."""


class LabelRaster:
    """Labels of one image: class, or IGNORE where nothing was said. Safe in threads; reading never delays drawing."""

    def __init__(self, size: tuple[int, int], base: BaseLabels | None = None, caches: TileCaches | None = None) -> None:
        """Of an image of this height and width, and of the mask that it has already.

        Args:
            size: height and width.
            base: `None`: nothing is labelled before the first stroke.
            caches: shared with other images; `None`: of its own.
        """
        self.size = size
        self.version = 0
        """Number of the last event that concerned the image."""
        self.filled = False
        """Whether pixels that are not labelled count as background."""
        self._base = base
        self._strokes: dict[Key, _Strokes] = {}
        self._n_changes: Counter[Key] = Counter()
        self._marks: list[Mark] = []
        self._caches = caches or TileCaches()
        self._lock = threading.Lock()  # of the lists, held for microseconds
        self._rendering = threading.Lock()

    @property
    def n_strokes(self) -> int:
        """Strokes that stand."""
        return len(self._marks)

    @property
    def box(self) -> Box | None:
        """Bounds of what is labelled, generously; `None`: nothing is."""
        if self._base is not None or self.filled:
            return (0, 0, *self.size)
        with self._lock:
            boxes = [box_of(mark, self.size) for mark in self._marks if mark.value != IGNORE]
        found = np.array([box for box in boxes if box is not None])
        if not len(found):
            return None
        top, left = found[:, :2].min(axis=0).tolist()
        bottom, right = (found[:, :2] + found[:, 2:]).max(axis=0).tolist()
        return top, left, bottom - top, right - left

    def push(self, mark: Mark) -> Box | None:
        """Add a stroke after all others; returns the part of the image that may change."""
        tiles = touched_tiles(mark, self.size)
        with self._lock:
            self._marks.append(mark)
            for tile in tiles:
                self._strokes.setdefault(tile, _Strokes()).marks.append(mark)
            self._count_changes(tiles)
        return box_of(mark, self.size)

    def pop(self) -> Box | None:
        """Take back the last stroke; returns the part of the image that may change."""
        with self._lock:
            mark = self._marks.pop()
            tiles = touched_tiles(mark, self.size)
            for tile in tiles:
                strokes = self._strokes[tile]
                strokes.marks.pop()
                while strokes.copies and strokes.copies[-1][0] > len(strokes.marks):
                    strokes.copies.pop()
            self._count_changes(tiles)
        return box_of(mark, self.size)

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "y x"]:
        """Labels of a part that lies in the image, in native pixels."""
        labels = np.full((height, width), IGNORE, np.uint8)
        with self._rendering:
            for row in range(top // TILE, -(-(top + height) // TILE)):
                for column in range(left // TILE, -(-(left + width) // TILE)):
                    if (tile := self._native((0, column, row))) is not None:
                        _paste(labels, tile, (row * TILE - top, column * TILE - left))
        return np.where(labels == IGNORE, np.uint8(0), labels) if self.filled else labels

    def tile(self, level: int, column: int, row: int) -> Tile | None:
        """Labels of a tile, IGNORE beyond the image; `None`: it lies outside."""
        if (box := level_box(self.size, (level, column, row))) is None:
            return None
        with self._rendering:
            tile = self._at((level, column, row))
            labels = empty_labels() if tile is None else tile.copy()  # which later strokes change in place
        if self.filled:
            inside = labels[: box[2], : box[3]]
            inside[inside == IGNORE] = 0
        return labels

    def _count_changes(self, tiles: set[Key]) -> None:
        for level in range(n_levels_of(self.size)):
            self._n_changes.update({(level, column >> level, row >> level) for _, column, row in tiles})

    def _at(self, key: Key) -> Tile | None:
        """Labels of a tile of any level; `None`: nothing is labelled in it."""
        if self._n_changes[key] == 0:
            return None if self._base is None or level_box(self.size, key) is None else self._base.tile(key)
        if key[0] == 0:
            return self._native(key)
        n_changes = self._n_changes[key]
        kept = self._caches.coarse.get((self, key))
        if kept is not None and kept[0] == n_changes:
            return kept[1]
        coarse = empty_labels()
        for finer, part in quarters(key):
            if (tile := self._at(finer)) is not None:
                coarse[part] = halve_labels(tile)
        self._caches.coarse.put((self, key), (n_changes, coarse), coarse.nbytes)
        return coarse

    def _native(self, key: Key) -> Tile | None:
        base = None if self._base is None else self._base.tile(key)
        with self._lock:
            strokes = self._strokes.get(key)
            marks = [*strokes.marks] if strokes else []
        if not marks or strokes is None:
            return base
        found = self._newest(key, strokes, marks) or _Pixels(0, None, empty_labels() if base is None else base.copy())
        box = level_box(self.size, key)
        assert box is not None
        inside = found.pixels[: box[2], : box[3]]
        while found.n < len(marks):
            mark = marks[found.n]
            paint(inside, mark, box[:2])
            found.n, found.last = found.n + 1, mark
            if found.n % _BETWEEN_COPIES == 0:
                self._keep_copy(strokes, found.n, mark, found.pixels)
        self._caches.native.put((self, key), found, found.pixels.nbytes)
        return found.pixels

    def _newest(self, key: Key, strokes: _Strokes, marks: list[Mark]) -> _Pixels | None:
        """The latest pixels that the strokes still lead to: those of the last look, or a copy."""
        kept = self._caches.native.get((self, key))
        if kept is not None and kept.holds_for(marks):
            return kept
        with self._lock:
            copies = [*strokes.copies]
        for n, last, packed in reversed(copies):
            pixels = _Pixels(n, last, np.frombuffer(zlib.decompress(packed), np.uint8).reshape(TILE, TILE).copy())
            if pixels.holds_for(marks):
                return pixels
        return None

    def _keep_copy(self, strokes: _Strokes, n: int, last: Mark, pixels: Tile) -> None:
        packed = zlib.compress(pixels.tobytes(), 1)
        with self._lock:
            is_current = n <= len(strokes.marks) and strokes.marks[n - 1] is last
            if is_current and (not strokes.copies or strokes.copies[-1][0] < n):
                strokes.copies.append((n, last, packed))


def _paste(target: np.ndarray, tile: Tile, corner: tuple[int, int]) -> None:
    """Copy what a tile at (y, x) and the target have in common."""
    top, left = corner
    part = target[max(top, 0) : max(top + TILE, 0), max(left, 0) : max(left + TILE, 0)]
    source = tile[max(-top, 0) :, max(-left, 0) :]
    part[...] = source[: part.shape[0], : part.shape[1]]
