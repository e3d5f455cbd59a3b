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

    Of DICOM it is PixelSpacing, else ImagerPixelSpacing, which is at the detector; where both are the same, so is
    PixelSpacing, since it was not calibrated (PS3.3 10.7). Of NIfTI it is the lengths of the affine's
    columns along the axes of the slice; of OME-Zarr images, and of slides that a library reads, that of the level.
    """
    try:
        volume = list_volumes(image)[0]
        at_detector = _at_detector(split_slice(image)[0]) if volume.kind == "DICOM" else None
    except (DataError, UnusableImageError, OSError):
        return None
    mm = volume.pixel_mm or at_detector
    return None if mm is None else PixelSpacing(mm, at_detector=mm == at_detector)


def _at_detector(file: Path) -> tuple[float, float] | None:
    header = read_header(file, ("ImagerPixelSpacing",))
    with silent_about_patients():
        found = numbers(header.get("ImagerPixelSpacing"), 2)
    return (found[0], found[1]) if found and min(found) > 0 else None
