"""Where the slices of DICOM files lie in the patient, and which of them are one volume.

Slices are ordered along the normal of their planes (PS3.3 C.7.6.2.1.1), whatever their files are called. Positions are
in the patient's coordinates of DICOM, LPS, in millimetres; the affine of a volume is in RAS, as NIfTI has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .dicom import read_header, settings_of, silent_about_patients
from .raster import UnusableImageError

_TAGS = (
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_UNEVEN = 0.05
"""Of steps between slices, as a share of their median: positions are written with few decimals."""
MAX_FRAMES = 2**16
_SAME_PLACE_MM = 1e-3
_LARGEST_TILT_DEGREES = 0.1


@dataclass(frozen=True)
class DicomSlice:
    """One frame of a file, or the file's only one."""

    path: Path
    """As `open_image` takes it."""
    series: str
    """SeriesInstanceUID; "": the file does not say."""
    n_frames: int
    """Of its file."""
    size: tuple[int, int]
    """Height and width."""
    pixel_mm: tuple[float, float] | None
    """From one pixel's centre to the next, along y and x; `None`: the file does not say."""
    axes: tuple[float, ...] | None
    """Unit vectors along x and y, of 3 coordinates each; `None`: the file does not say."""
    position: tuple[float, ...] | None
    """Of the first pixel's centre; `None`: the file does not say."""
    thickness_mm: float
    """1, if the file does not say."""


@dataclass(frozen=True)
class SlicePlacement:
    """Slices in the order in which they lie."""

    order: tuple[int, ...]
    """Places of the slices in the list that was given."""
    affine: Float[np.ndarray, "4 4"] | None
    """(x, y, z) → millimetres in RAS; `None`: they are no even grid, or do not say where they lie."""
    reason: str = ""
    """Reason why there is no affine, where one was to be expected: slices are missing, or lie at one place."""
    remark: str = ""
    """Oddity of the affine: a tilt."""


def read_slices(path: Path) -> list[DicomSlice]:
    """The frames of a file, from its header alone.

    Raises:
        UnusableImageError: as `read_dicom`.
    """
    header = read_header(path, _TAGS)
    with silent_about_patients():
        return _slices(path, header)


def _slices(path: Path, header: Any) -> list[DicomSlice]:  # noqa: ANN401
    n_frames = int(header.get("NumberOfFrames") or 1)
    if "Rows" not in header or "Columns" not in header or not 1 <= n_frames <= MAX_FRAMES:
        raise UnusableImageError(f"is a DICOM file without an image, or of more than {MAX_FRAMES} frames")
    names = [path] if n_frames == 1 else [path.with_name(f"{path.name}#{frame}") for frame in range(n_frames)]
    return [_slice(name, header, frame, n_frames) for frame, name in enumerate(names)]


def study_of(path: Path) -> str:
    """A name for the examination that a file is of, the same for all its series; "" where the file does not say.

    It is a digest of the StudyInstanceUID, which hospitals can trace.

    Raises:
        UnusableImageError: as `read_dicom`.
    """
    header = read_header(path, ("StudyInstanceUID", "SeriesInstanceUID"))
    uid = str(header.get("StudyInstanceUID") or header.get("SeriesInstanceUID") or "")
    return f"study-{sha256(uid.encode()).hexdigest()[:16]}" if uid else ""


def _slice(path: Path, header: Any, frame: int, n_frames: int) -> DicomSlice:  # noqa: ANN401
    measures = settings_of(header, frame, "PixelMeasuresSequence")
    spacing = numbers(measures.get("PixelSpacing"), 2)
    thickness = numbers([measures.get("SliceThickness")], 1)
    return DicomSlice(
        path,
        str(header.get("SeriesInstanceUID") or ""),
        n_frames,
        (int(header.Rows), int(header.Columns)),
        (spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        numbers(settings_of(header, frame, "PlaneOrientationSequence").get("ImageOrientationPatient"), 6),
        numbers(settings_of(header, frame, "PlanePositionSequence").get("ImagePositionPatient"), 3),
        thickness[0] if thickness and thickness[0] > 0 else 1.0,
    )


def numbers(value: Any, n: int) -> tuple[float, ...] | None:  # noqa: ANN401
    """A tag's `n` finite numbers; `None`: it is absent or has others."""
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == n and np.isfinite(numbers).all() else None


def series_of(slices: Iterable[DicomSlice]) -> list[list[DicomSlice]]:
    """Single-frame slices by volume: those of one series, size and orientation that say where they lie.

    Every other slice is a list of its own: radiographs, photographs, the localiser of a scan.
    """
    groups: dict[object, list[DicomSlice]] = defaultdict(list)
    for one in slices:
        placed = one.series and one.axes and one.position and one.pixel_mm and one.n_frames == 1
        axes = tuple(round(number, 3) + 0.0 for number in one.axes or ())
        groups[(one.series, one.size, axes) if placed else one.path].append(one)
    return list(groups.values())


def place(slices: Sequence[DicomSlice]) -> SlicePlacement:
    """Order slices along their normal, and find the affine of the grid that they make."""
    unplaced = SlicePlacement(tuple(range(len(slices))), None)
    first = slices[0]
    if any(not (one.axes and one.position and one.pixel_mm) for one in slices) or not first.axes or not first.pixel_mm:
        return unplaced
    x, y = np.reshape(first.axes, (2, 3))
    normal = np.cross(x, y)
    positions = np.array([one.position for one in slices])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    if len(slices) > 1 and np.ptp(along) < _SAME_PLACE_MM:
        return unplaced  # frames of one plane at several times
    reason = _uneven([slices[i].path.name for i in order], np.diff(along[order]))
    if reason:
        return SlicePlacement(tuple(order.tolist()), None, reason)
    corners = positions[order]
    step = (corners[-1] - corners[0]) / (len(slices) - 1) if len(slices) > 1 else normal * first.thickness_mm
    affine = np.eye(4)
    affine[:3] = np.stack([x * first.pixel_mm[1], y * first.pixel_mm[0], step, corners[0]], 1)
    return SlicePlacement(tuple(order.tolist()), _RAS_OF_LPS @ affine, remark=_tilt(step, normal))


def _uneven(names: Sequence[str], steps: Float[np.ndarray, " step"]) -> str:
    """Reason why slices are no even grid; "" for none."""
    if not len(steps):
        return ""
    median = float(np.median(steps))
    together = [f"{names[i]} and {names[i + 1]}" for i in np.flatnonzero(steps < _SAME_PLACE_MM).tolist()]
    if together:
        return f"slices lie at one place ({_some(together)}): several scans, times or echoes in one series"
    gaps = np.flatnonzero(np.abs(steps - median) > _MOST_UNEVEN * median).tolist()
    named = [f"{steps[i]:g} mm from {names[i]} to {names[i + 1]}" for i in gaps]
    return f"slices are missing or unevenly spaced ({_some(named)}; elsewhere {median:g} mm)" if named else ""


def _some(lines: Sequence[str]) -> str:
    return ", ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")


def _tilt(step: Float[np.ndarray, " 3"], normal: Float[np.ndarray, " 3"]) -> str:
    cosine = float(step @ normal / (np.linalg.norm(step) * np.linalg.norm(normal)))
    degrees = float(np.degrees(np.arccos(min(cosine, 1.0))))
    if degrees <= _LARGEST_TILT_DEGREES:
        return ""
    return (
        f"its slices are shifted against each other by a tilt of {degrees:.1f} degrees (gantry); the affine of a NIfTI "
        "mask holds the shear, which some viewers ignore"
    )
