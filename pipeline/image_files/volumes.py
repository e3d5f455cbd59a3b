"""Slices that are segmented together: a NIfTI file, a DICOM file of several frames, a series of DICOM files.

Everything that one command takes is a volume; a plain image is a volume of one slice. Slices are named as `open_image`
takes them, and shown as it shows them: columns x, rows y, and slices z in the volume's order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Volume:
    """One image, or the slices of one scan."""

    path: Path
    """The file, or a slice of it alone (`FILE#INDEX`); of a series of DICOM files its folder."""
    name: str
    """Fit for naming other files."""
    slices: tuple[Path, ...]
    """In order; of a plain image itself alone."""
    affine: Float[np.ndarray, "4 4"] | None = field(default=None, compare=False)
    """(x, y, z) as shown → millimetres in RAS, as NIfTI has it; `None`: the file does not say."""

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """From one pixel's centre to the next along z, y and x; `None`: the file does not say."""
        if self.affine is None:
            return None
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return z, y, x
