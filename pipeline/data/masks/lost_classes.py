"""Labels of a mask at the model's size, and the classes that they lack and the mask has.

`resize_labels` keeps every class but where several fall into one pixel of the labels and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ....cache.format.samples import IGNORE
from ...image_files.reading import Regions, open_mask
from ...image_files.source import Box, Offset
from ...images.resizing import resize_labels
from ...images.tiling import pad_to_tile, tile_box, tile_offsets
from ..classes import Classes
from ..inspection import Inspection
from ..warnings import IDS_NAMED, DataWarning

_MOST_AT_ONCE = 8


@dataclass(frozen=True)
class LabelSize:
    """The size at which a head learns labels."""

    side: int
    """Of the label map, in pixels."""
    tile: int | None = None
    """Side in native pixels of the tiles that become label maps; `None`: whole masks do."""
    overlap: int = 0
    """Native pixels that neighbouring tiles share."""

    def shrinks(self, size: tuple[int, int]) -> bool:
        """Whether the labels of a mask of this height and width have fewer pixels than it has."""
        return max(size if self.tile is None else (self.tile,)) > self.side

    def labels(self, mask: Regions, classes: Classes, offset: Offset | None) -> UInt8[np.ndarray, "side side"]:
        """Label map of a whole mask, or of the tile at the offset: IGNORE beyond the mask's border."""
        if self.tile is None or offset is None:
            return self.of_part(classes.labels(mask.read_whole()))
        return self.of_part(classes.labels(mask.read(*self.box(mask.size, offset))))

    def box(self, size: tuple[int, int], offset: Offset) -> Box:
        """The part of a mask of this height and width that becomes the label map of the tile at the offset."""
        return (0, 0, *size) if self.tile is None else tile_box(size, offset, self.tile)

    def of_part(self, labels: UInt8[np.ndarray, "y x"]) -> UInt8[np.ndarray, "side side"]:
        """Label map of a part: of a whole mask, or of what a tile has of it."""
        whole = labels if self.tile is None else pad_to_tile(labels, self.tile, IGNORE)
        return resize_labels(whole, (self.side, self.side))

    def offsets(self, size: tuple[int, int]) -> Sequence[Offset | None]:
        """The tiles of a mask; a single `None` where masks are not cut."""
        return [None] if self.tile is None else tile_offsets(size, self.tile, self.overlap)


def lost_classes(inspections: Iterable[Inspection], classes: Classes, size: LabelSize) -> Iterator[DataWarning]:
    """A warning for each class that masks have and their label maps lack, with its pixels in each of the masks."""
    shrunk = [one for one in inspections if one.mask and size.shrinks(one.mask.size)]
    counted = {one.entry.id: classes.count(one.mask.n_pixels) for one in shrunk if one.mask}
    # A class without another beside it loses to none.
    paths = {
        one.entry.id: one.entry.mask
        for one in shrunk
        if one.entry.mask and sum(n > 0 for n in counted[one.entry.id][1:]) > 1
    }
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_AT_ONCE)) as pool:
        shown = dict(zip(paths, pool.map(lambda path: _shown(path, classes, size), paths.values()), strict=True))
    for label, name in enumerate(classes.names[1:], 1):
        lost = {one: counted[one][label] for one in paths if counted[one][label] and label not in shown[one]}
        if lost:
            yield DataWarning("lost-class", _lost(name, [*lost.values()], size), tuple(lost))


def _lost(name: str, n_pixels: Sequence[int], size: LabelSize) -> str:
    counts = ", ".join(map(str, n_pixels[:IDS_NAMED]))
    cut = f"tiles of {size.tile} pixels at " if size.tile else ""
    return (
        f"{name} ({counts} pixels of the mask) is lost where a rarer class falls into the same pixels of the labels, "
        f"{cut}{size.side} x {size.side}; give a larger --image-size, or cut tiles (--tile)"
    )


def _shown(path: Path, classes: Classes, size: LabelSize) -> set[int]:
    """The labels of all label maps of a mask."""
    mask = open_mask(path, classes.content)
    maps = (size.labels(mask, classes, offset) for offset in size.offsets(mask.size))
    return {label for one in maps for label in np.unique(one).tolist()}
