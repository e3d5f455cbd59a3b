"""Writers of plain arrays: masks and maps of uncertainty as PNG, probabilities as NPY."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt, UInt16
from PIL import Image

from ...cache.storage.atomic import TEMPORARY_SUFFIX, reserve, sync_folder, write_durably
from ..exchange.outputs import MaskBand, OutputTarget


class PngMask:
    """The mask of a slice, held at one or two bytes a pixel."""

    def __init__(self, target: OutputTarget) -> None:
        self._path, self._mask = target.file(".png"), np.empty(target.size, target.dtype)

    def add(self, band: MaskBand) -> None:
        """Keep the rows."""
        self._mask[band.top : band.top + len(band.mask)] = band.mask

    def finish(self) -> None:
        """Write the file."""
        write_mask(self._path, self._mask)

    def discard(self) -> None:
        """Nothing is on the disk yet."""


class UncertaintyMap:
    """The uncertainty of a slice as a grey PNG of 16 bits."""

    def __init__(self, target: OutputTarget) -> None:
        self._path, self._n_classes = target.file("_uncertainty.png"), len(target.classes)
        self._grey = np.empty(target.size, np.uint16)

    def add(self, band: MaskBand) -> None:
        """Keep the rows."""
        self._grey[band.top : band.top + len(band.mask)] = to_grey(band.uncertainty, self._n_classes)

    def finish(self) -> None:
        """Write the file."""
        write_mask(self._path, self._grey)

    def discard(self) -> None:
        """Nothing is on the disk yet."""


class ProbabilityArray:
    """The probabilities of a slice, float16 [class, y, x], written as they come."""

    def __init__(self, target: OutputTarget) -> None:
        self._path = target.file(".npy")
        self._temporary = self._path.with_name(self._path.name + TEMPORARY_SUFFIX)
        self._temporary.unlink(missing_ok=True)
        shape = (len(target.classes), *target.size)
        try:
            self._array = np.lib.format.open_memmap(self._temporary, "w+", np.float16, shape)
            with self._temporary.open("r+b") as file:
                reserve(file, self._temporary.stat().st_size)
        except BaseException:
            self.discard()
            raise

    def add(self, band: MaskBand) -> None:
        """Write the rows."""
        self._array[:, band.top : band.top + len(band.mask)] = band.probabilities.astype(np.float16)

    def finish(self) -> None:
        """Give the file its name once it is on the disk."""
        self._array.flush()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove an unfinished file."""
        self._temporary.unlink(missing_ok=True)


def to_grey(uncertainty: Float32[np.ndarray, "*pixel"], n_classes: int) -> UInt16[np.ndarray, "*pixel"]:
    """Uncertainty as an image: 65535 × √(u / ln n_classes), so that white is as uncertain as can be.

    The root shows the small values that mutual information mostly has; of two members it is a distance between their
    predictions (Endres & Schindelin 2003, A new metric for probability distributions).

    Args:
        uncertainty: in nats, in [0, ln n_classes].
        n_classes: background included.
    """
    return (65535 * np.sqrt(uncertainty / np.log(n_classes)).clip(0, 1)).round().astype(np.uint16)


def write_mask(path: Path, mask: UInt[np.ndarray, "y x"]) -> None:
    """Write a grey PNG durably."""
    buffer = BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    write_durably(path, [buffer.getbuffer()])
