"""DICOM files in a folder: their patients, and segmentations (DICOM-SEG) drawn as masks of the images they refer to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from ...errors import DataError
from ..image_files.dicom import read_header, silent_about_patients
from ..image_files.raster import UnusableImageError

_SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
"""SOP classes of segments as bits or fractions, and of label maps."""
_TAGS = ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns")


@dataclass(frozen=True)
class DicomFile:
    """The header of a DICOM file with an image."""

    patient: str
    """PatientID, or the study where it is empty."""
    instance: str
    """SOPInstanceUID, by which segmentations refer to it."""
    is_segmentation: bool


def read_dicom_file(path: Path) -> DicomFile:
    """Entries of a file's header.

    Raises:
        UnusableImageError: It is broken, holds no image, or the extra that reads DICOM is not installed.
    """
    header = read_header(path, _TAGS)
    with silent_about_patients():  # values are decoded as they are asked for
        if "Rows" not in header or "Columns" not in header:
            raise UnusableImageError("is a DICOM file without an image")
        patient = str(header.get("PatientID") or header.get("StudyInstanceUID") or "").strip()
        kind = str(header.get("SOPClassUID") or "")
        return DicomFile(patient, str(header.get("SOPInstanceUID") or ""), kind in _SEGMENTATIONS)


@dataclass(frozen=True)
class SegmentedImages:
    """Masks of the images that segmentations refer to."""

    masks: dict[int, Integer[np.ndarray, "y x"]]
    """Index of an image → class values."""
    classes: dict[int, str]
    """Value → label of the segment; 0 is the background."""


def draw_segmentations(files: Sequence[Path], images: Mapping[str, int]) -> SegmentedImages:
    """Draw DICOM segmentations on the images that they refer to; segments of one label are one class.

    Args:
        files: the segmentations.
        images: SOPInstanceUID of an image → its index.

    Raises:
        DataError: A file cannot be read, refers to none of the images, or two of its classes overlap.
    """
    classes: dict[str, int] = {}
    drawn: dict[int, np.ndarray] = {}
    for path in files:
        for instance, segments in _instances(path, [*images]).items():
            mask = drawn.setdefault(images[instance], np.zeros(next(iter(segments.values())).shape, np.uint16))
            for label, pixels in segments.items():
                value = classes.setdefault(label, len(classes) + 1)
                if not {*np.unique(mask[pixels]).tolist()} <= {0, value}:
                    raise DataError(f"{path}: {label!r} overlaps another segment; a pixel has one class")
                mask[pixels] = value
    return SegmentedImages(drawn, {0: "background"} | {value: label for label, value in classes.items()})


def _instances(path: Path, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Instance that a segmentation refers to → label of a segment → its pixels, as booleans."""
    try:
        import highdicom
    except ImportError as error:
        raise DataError(f"{path} is a DICOM segmentation; install textdiff[medical] to read it") from error
    try:
        with silent_about_patients():
            seg = highdicom.seg.segread(path)
            referred = [str(instance) for *_, instance in seg.get_source_image_uids() if str(instance) in {*known}]
            numbers = [*seg.segment_numbers]
            labels = [str(seg.get_segment_description(number).segment_label) for number in numbers]
            stacks = [
                seg.get_pixels_by_source_instance(
                    referred,
                    segment_numbers=[number],
                    ignore_spatial_locations=True,
                    assert_missing_frames_are_empty=True,
                )[..., 0]
                for number in (numbers if referred else ())
            ]
    except UnusableImageError as error:
        raise DataError(f"{path} {error}") from error
    if not referred:
        raise DataError(f"{path} is a segmentation of other images than those here")
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for label, stack in zip(labels, stacks, strict=True):
        for instance, pixels in zip(referred, stack, strict=True):
            found[instance][label] = found[instance].get(label, False) | (pixels > 0.5)
    return found
