"""Size of an image's pixels in mm, as its file states it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from .dicom import read_header, silent_about_patients
from .dicom_series import numbers
from .paths import split_slice
from .raster import UnusableImageError
from .volumes import list_volumes


@dataclass(frozen=True)
class PixelSpacing:
    """Distances from one pixel's centre to the next."""

    mm: tuple[float, float]
    """Along y and x."""
    at_detector: bool = False
    """Whether they are measured at the detector of a projection radiograph, where a structure of the patient appears
    larger than it is; else in the patient or on the slide."""


def pixel_spacing(image: Path) -> PixelSpacing | None:
    """Spacing of an image, slice or level; `None`: the file does not state it, or cannot be read.

    Of DICOM it is PixelSpacing, which is in the patient (PS3.3 10.7.1.1), or else ImagerPixelSpacing, which is at the
    detector (10.7.1.2); of NIfTI the lengths of the affine's columns along the axes of the slice; of OME-Zarr
    images and of slides that a library reads that of the level.
    """
    try:
        volume = list_volumes(image)[0]
        if volume.pixel_mm is not None or volume.kind != "DICOM":
            return None if volume.pixel_mm is None else PixelSpacing(volume.pixel_mm)
        header = read_header(split_slice(image)[0], ("ImagerPixelSpacing",))
        with silent_about_patients():
            found = numbers(header.get("ImagerPixelSpacing"), 2)
    except (DataError, UnusableImageError, OSError):
        return None
    return PixelSpacing((found[0], found[1]), at_detector=True) if found and min(found) > 0 else None
