"""Protocol of the files that `predict` writes: a format is a row of one table, a writer takes the masks band by band.

`pipeline/prediction/formats.py` holds the table, `FORMATS`. For each image, or for each slice of a volume where a
format is `per_slice`, predict calls `open_writer(target)`, then `add(band)` for the bands from top to bottom, slice
after slice, then `finish()`; after any failure or interruption `discard()` in place of `finish`. So a writer of large
images keeps no more than it must, and one that needs the whole mask is `CollectedMask` around a function of arrays.

A writer makes its files under temporary names (`write_durably`, or a name with TEMPORARY_SUFFIX that is renamed when
the file is whole and on the disk), and only those that `suffixes` names, since predict claims these beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt

from ..image_files.volumes import Volume


@dataclass(frozen=True)
class MaskBand:
    """Rows of one slice, over its whole width."""

    index: int
    """Of the slice in the target's volume."""
    top: int
    """The first row."""
    mask: UInt[np.ndarray, "y x"]
    """Values of the likeliest classes, of the target's dtype."""
    probability: Float32[np.ndarray, "y x"]
    """Of the class that the mask names."""
    probabilities: Float32[np.ndarray, "n_classes y x"]
    """Of every class, background first; they add up to 1."""
    uncertainty: Float32[np.ndarray, "y x"]
    """In nats."""


@dataclass(frozen=True)
class OutputTarget:
    """The image or volume that files are written for."""

    folder: Path
    """It exists."""
    volume: Volume
    """Of one slice where the format is `per_slice`; its name begins the files' names."""
    size: tuple[int, int]
    """Height and width of every slice in pixels."""
    classes: Mapping[int, str]
    """Value in the mask → name of the class, background first."""
    dtype: np.dtype[Any]
    """Of the mask: uint8, or uint16 where values need it."""

    def file(self, suffix: str) -> Path:
        """The file of that suffix (`_objects.csv`)."""
        return self.folder / f"{self.volume.name}{suffix}"


class OutputWriter(Protocol):
    """Files of one target in the making."""

    def add(self, band: MaskBand) -> None:
        """Take the next rows."""

    def finish(self) -> None:
        """Complete the files and give them their names."""

    def discard(self) -> None:
        """Leave nothing unfinished behind; called after an exception of any method, of this or of another writer."""


@dataclass(frozen=True)
class OutputFormat:
    """One way of writing masks."""

    suffixes: tuple[str, ...]
    """Of all files that may be written for a target, after its name."""
    open_writer: Callable[[OutputTarget], OutputWriter]
    per_slice: bool = True
    """Whether each slice of a volume is a target of its own, whose bands have the index 0."""
    refusal: Callable[[Volume], str | None] = lambda volume: None
    """Reason why the format cannot hold masks of the volume, and the way out; asked before anything is computed."""
    size_refusal: Callable[[Volume, tuple[int, int]], str | None] = lambda volume, size: None
    """Likewise, of slices of this height and width."""


class CollectedMask:
    """A writer for formats that need a whole slice: memory is 5 or 6 bytes for each of its pixels.

    Args:
        target: of a format that is `per_slice`.
        write: writes the files, durably, of the target, the mask [y, x] and the probability [y, x] of its classes.
    """

    def __init__(
        self,
        target: OutputTarget,
        write: Callable[[OutputTarget, UInt[np.ndarray, "y x"], Float32[np.ndarray, "y x"]], None],
    ) -> None:
        self._target, self._write = target, write
        self._mask = np.empty(target.size, target.dtype)
        self._probability = np.empty(target.size, np.float32)

    def add(self, band: MaskBand) -> None:
        """Keep the rows."""
        rows = slice(band.top, band.top + len(band.mask))
        self._mask[rows], self._probability[rows] = band.mask, band.probability

    def finish(self) -> None:
        """Write the files."""
        self._write(self._target, self._mask, self._probability)

    def discard(self) -> None:
        """Nothing is on the disk yet."""
