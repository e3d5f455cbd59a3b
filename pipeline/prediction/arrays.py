"""Writers of plain arrays: masks and maps of uncertainty as PNG, probabilities as NPY."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt, UInt16

from ...cache.storage.atomic import TEMPORARY_SUFFIX, reserve, sync_folder
from ..exchange.outputs import MaskBand, OutputTarget


class PngMask:
    """The mask of a slice, written as it comes."""

    def __init__(self, target: OutputTarget) -> None:
        self._image = _GreyPng(target.file(".png"), target.size, target.dtype)

    def add(self, band: MaskBand) -> None:
        """Write the rows."""
        self._image.add(band.mask)

    def finish(self) -> None:
        """Give the file its name."""
        self._image.finish()

    def discard(self) -> None:
        """Remove an unfinished file."""
        self._image.discard()


class UncertaintyMap:
    """The uncertainty of a slice as a grey PNG of 16 bits, written as it comes."""

    def __init__(self, target: OutputTarget) -> None:
        self._n_classes = len(target.classes)
        self._image = _GreyPng(target.file("_uncertainty.png"), target.size, np.dtype(np.uint16))

    def add(self, band: MaskBand) -> None:
        """Write the rows."""
        self._image.add(to_grey(band.uncertainty, self._n_classes))

    def finish(self) -> None:
        """Give the file its name."""
        self._image.finish()

    def discard(self) -> None:
        """Remove an unfinished file."""
        self._image.discard()


class _GreyPng:
    """A grey PNG in the making, of which nothing but the last row stays in memory (W3C, PNG specification, 3rd ed.)."""

    def __init__(self, path: Path, size: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Of 8 or 16 bits a pixel."""
        self._path, self._temporary = path, path.with_name(path.name + TEMPORARY_SUFFIX)
        self._temporary.unlink(missing_ok=True)
        self._file = self._temporary.open("xb")
        self._packer, self._dtype = zlib.compressobj(), dtype.newbyteorder(">")
        self._above = np.zeros((1, size[1] * dtype.itemsize), np.uint8)
        self._file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8 * dtype.itemsize, 0, 0, 0, 0))

    def add(self, rows: UInt[np.ndarray, "y x"]) -> None:
        """Write the next rows."""
        stored = np.ascontiguousarray(rows, self._dtype).view(np.uint8)
        filtered = np.full((len(stored), stored.shape[1] + 1), 2, np.uint8)  # 2: less the row above
        filtered[:, 1:] = stored - np.concatenate([self._above, stored[:-1]])
        self._above = stored[-1:].copy()
        self._chunk(b"IDAT", self._packer.compress(filtered.data))

    def finish(self) -> None:
        """Give the file its name once it is on the disk."""
        self._chunk(b"IDAT", self._packer.flush())
        self._chunk(b"IEND", b"")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove an unfinished file."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _chunk(self, kind: bytes, content: bytes) -> None:
        if content or kind != b"IDAT":
            self._file.write(struct.pack(">I", len(content)) + kind + content)
            self._file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


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
    """Write a grey PNG durably; its folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = _GreyPng(path, mask.shape, mask.dtype)
    try:
        image.add(mask)
        image.finish()
    except BaseException:
        image.discard()
        raise
