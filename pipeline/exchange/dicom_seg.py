"""Masks of DICOM images as DICOM Segmentation objects (PS3.3 A.51), which viewers and archives lay over the images.

One binary segment for each class but the background, named after it, with references to the source instances. The
object belongs to the study and patient of its images, so that it tells as much of a patient as they do. highdicom
writes it; the whole volume's mask is in memory, a byte a voxel.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...cache.storage.atomic import write_durably
from ...errors import DataError, TextdiffError
from ..image_files.dicom import read_header
from ..image_files.paths import split_slice
from ..image_files.raster import UnusableImageError
from ..image_files.volumes import Volume
from .outputs import MaskBand, OutputTarget

SUFFIX = "_seg.dcm"
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes that the standard wants in every file, if without a value (type 2); anonymised files often lack them."""
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "Modality")
_LONGEST_NAME = 64  # of the value representation LO
_FIRST_SERIES = 1000  # above the numbers that scanners give


def without_source(volume: Volume) -> str | None:
    """Reason why there can be no DICOM-SEG of a volume, and the way out; `None`: there can."""
    way_out = "leave dicom-seg out of --formats"
    if volume.kind != "DICOM":
        return f"{volume.path}: it is no DICOM image, to which a DICOM-SEG could refer; {way_out}"
    if not volume.is_whole:
        return f"{volume.path}: a DICOM-SEG is of a whole file; give the file without its #INDEX, or {way_out}"
    try:
        with _explained(volume.path):
            sources = _sources(volume)
            missing = [name for name in _NEEDED if not sources[0].get(name)]
            if missing:
                return f"{volume.path}: it has no {', '.join(missing)}, to which a DICOM-SEG refers; {way_out}"
            if _n_frames(sources) > 1 and not sources[0].get("FrameOfReferenceUID"):
                return f"{volume.path}: its frames do not say where they lie, as those of a DICOM-SEG do; {way_out}"
            trial = np.zeros((_n_frames(sources[:1]), sources[0].Rows, sources[0].Columns), np.uint8)
            _segmentation(sources[:1], trial, {1: "trial"})
    except (DataError, UnusableImageError) as error:
        said = str(error) if isinstance(error, DataError) else f"{volume.path} {error}"
        return f"{said}; {way_out}"
    return None


class DicomSegmentation:
    """A volume's mask as one object."""

    def __init__(self, target: OutputTarget) -> None:
        self._path, self._volume = target.file(SUFFIX), target.volume
        self._names = dict(enumerate(list(target.classes.values())[1:], 1))
        self._segment_of = np.zeros(np.iinfo(target.dtype).max + 1, np.uint8)
        self._segment_of[list(target.classes)] = np.arange(len(target.classes))
        self._segments = np.zeros((len(target.volume.slices), *target.size), np.uint8)

    def add(self, band: MaskBand) -> None:
        """Keep the rows, as numbers of segments."""
        index = split_slice(self._volume.slices[band.index])[1]
        frame = band.index if index is None else index  # frames stand in the file's order, files in the volume's
        self._segments[frame, band.top : band.top + len(band.mask)] = self._segment_of[band.mask]

    def finish(self) -> None:
        """Write the file."""
        buffer = BytesIO()
        with _explained(self._volume.path):
            _segmentation(_sources(self._volume), self._segments, self._names).save_as(buffer)
        write_durably(self._path, [buffer.getbuffer()])

    def discard(self) -> None:
        """Nothing is on the disk yet."""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Only the kind of an error is named, and no remark is heard: their texts may quote the file."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.disabled for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.disabled = True
            yield
    except (TextdiffError, UnusableImageError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"{path}: the image's own attributes make no valid DICOM-SEG ({type(error).__name__} in highdicom)"
        ) from None
    finally:
        for logger, was_disabled in zip(loggers, before, strict=True):
            logger.disabled = was_disabled


def _sources(volume: Volume) -> list[Any]:
    """Data sets of the volume's files without their pixels, in its order."""
    files = dict.fromkeys(split_slice(one)[0] for one in volume.slices)
    sources = [read_header(file) for file in files]
    for source in sources:
        for name in _MAY_BE_EMPTY:
            if name not in source:
                setattr(source, name, "")
    return sources


def _n_frames(sources: Sequence[Any]) -> int:
    return int(sources[0].get("NumberOfFrames") or 1) if len(sources) == 1 else len(sources)


def _segmentation(sources: Sequence[Any], segments: UInt8[np.ndarray, "z y x"], names: Mapping[int, str]) -> Any:  # noqa: ANN401
    try:
        import highdicom
        from pydicom.uid import generate_uid
    except ImportError as error:
        raise UnusableImageError("needs highdicom for its DICOM-SEG; install textdiff[medical]") from error
    unicode = {} if "".join(names.values()).isascii() else {"specific_character_set": "ISO_IR 192"}
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=segments,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(number, name) for number, name in names.items()],
        series_instance_uid=generate_uid(),
        series_number=_FIRST_SERIES + int(sources[0].get("SeriesNumber") or 0),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="textdiff",
        manufacturer_model_name="textdiff",
        software_versions=_version(),
        device_serial_number="none",
        series_description="textdiff masks",
        omit_empty_frames=bool(segments.any()),
        **unicode,
    )
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    if not all("SliceThickness" in measures for measures in shared.get("PixelMeasuresSequence", ())):
        del shared.PixelMeasuresSequence  # of a radiograph, which has none: highdicom writes it and refuses to read it
    return segmentation


def _description(number: int, name: str) -> Any:  # noqa: ANN401
    """A segment by its class: what it shows is known by a name alone, so that its code is a private one."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    label = name.replace("\\", "/")[:_LONGEST_NAME]
    described = SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=CodedConcept(str(number), "99TEXTDIFF", label),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            "textdiff", codes.DCM.ArtificialIntelligence, _version()
        ),
    )
    described.SegmentDescription = name
    return described


def _version() -> str:
    try:
        return version("textdiff")
    except PackageNotFoundError:
        return "unknown"
