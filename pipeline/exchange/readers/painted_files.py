"""Masks in image files of an export: painted is what is not 0."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ....errors import DataError
from ...image_files.raster import MAX_PIXELS, UnusableImageError, broken_bytes
from ...image_files.reading import read_mask
from .drawing import Part


@dataclass(frozen=True)
class PaintedFile:
    """One annotation's mask, read when it is drawn."""

    path: Path
    """PNG, or NumPy's `.npy` [y, x]."""

    def area(self) -> float:
        """In pixels."""
        return float(self._painted().sum())

    def draw(self, size: tuple[int, int]) -> Part:
        """The painted pixels.

        Raises:
            DataError: The file cannot be read, or is of another size.
        """
        pixels = self._painted()
        if pixels.shape != size:
            raise DataError(f"{self.path.name} has {pixels.shape[0]} x {pixels.shape[1]} pixels, the image {size}")
        return Part(0, 0, pixels)

    def _painted(self) -> Bool[np.ndarray, "y x"]:
        return _read_array(self.path) != 0 if self.path.suffix == ".npy" else read_mask(self.path) != 0


def _read_array(path: Path) -> np.ndarray:
    try:
        with broken_bytes():
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except UnusableImageError as error:
        raise DataError(f"{path} {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.size > MAX_PIXELS or array.dtype.kind not in "bui":
        raise DataError(f"{path} is not a mask [y, x] of whole numbers and at most {MAX_PIXELS} pixels")
    return array
