"""Slices that are segmented together: of NIfTI, DICOM and OME-Zarr images, or a series of DICOM files.

Everything that one command takes is a volume; a plain image is a volume of one slice. Slices are named as `open_image`
takes them, and shown as it shows them: columns x, rows y, and slices z in the volume's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ...errors import DataError
from .dicom_series import DicomSlice, place, read_slices, series_of
from .listing import list_images
from .ngff.planes import count_slices
from .nifti import open_nifti
from .paths import INDEX, FileKind, composed, kind_of, read_head, split_place, split_slice, stem_of, written
from .raster import UnusableImageError
from .reading import grid_of

MAX_SLICES = 2**16
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres, as NIfTI codes them


@dataclass(frozen=True)
class Volume:
    """One image, or the slices of one scan."""

    path: Path
    """The file, or a slice of it alone (`FILE#INDEX`); of a series of DICOM files its folder, followed by the volume's
    name where the folder holds several."""
    name: str
    """Fit for naming other files."""
    slices: tuple[Path, ...]
    """In order; of a plain image itself alone."""
    kind: FileKind | None = None
    """Of its files; `None`: no image, or not readable."""
    pixel_mm: tuple[float, float] | None = None
    """From one pixel's centre to the next, along y and x; `None`: the file does not say."""
    affine: Float[np.ndarray, "4 4"] | None = field(default=None, compare=False)
    """(x, y, z) as shown → millimetres in RAS, as NIfTI has it; `None`: the file does not say, or slices are no even
    grid."""
    uneven: str = ""
    """Reason why slices that say where they lie have no affine."""
    remark: str = ""
    """Oddity of the affine."""
    downsampling: tuple[float, float] = (1.0, 1.0)
    """Pixels of full resolution to one of these, along y and x; other than 1 of a smaller level."""

    @property
    def is_whole(self) -> bool:
        """Whether it is a file of its kind and not one slice of a file."""
        return not split_place(self.path)[1]

    def slice(self, index: int) -> Volume:
        """One of its slices, as a volume of its own."""
        if len(self.slices) == 1:
            return self
        one = self.slices[index]
        affine = None if self.affine is None else _from_slice(self.affine, index)
        return replace(self, path=one, name=stem_of(one), slices=(one,), affine=affine, remark="")


def _from_slice(affine: Float[np.ndarray, "4 4"], index: int) -> Float[np.ndarray, "4 4"]:
    shifted = affine.copy()
    shifted[:, 3] += index * affine[:, 2]
    return shifted


def list_volumes(path: Path) -> list[Volume]:
    """The image, slice or volume at `path`, or those of the folder there, sorted by name.

    DICOM files of a folder that are slices of one series are one volume. Files that cannot be read are volumes of one
    slice, and say so when they are opened.

    Raises:
        DataError: as `list_images`.
    """
    volumes: list[Volume] = []
    singles: list[DicomSlice] = []
    for image in list_images(path):
        try:
            found = _look_at(image)
        except (DataError, UnusableImageError):
            found = Volume(image, stem_of(image), (image,))
        if isinstance(found, Volume):
            volumes.append(found)
        else:
            singles.append(found)
    return sorted([*volumes, *_of_series(path, singles)], key=lambda volume: volume.path)


def _look_at(image: Path) -> Volume | DicomSlice:
    """A volume, or a file that may be one slice of a series."""
    file, index = split_slice(image)
    if file.is_dir():
        return _of_ngff(image)
    kind = kind_of(read_head(file))
    if kind not in ("NIfTI", "DICOM"):
        return _of_level(image, kind, (image,))
    if split_place(image)[1].keys() - {INDEX}:
        return Volume(image, stem_of(image), (image,))  # which no such file has
    if kind == "NIfTI":
        return _of_nifti(image, file, index)
    frames = read_slices(file)
    if len(frames) == 1 and index is None:
        return frames[0]
    if index is not None and index >= len(frames):
        raise UnusableImageError(f"has {len(frames)} frames")
    return _of_frames(image, frames if index is None else [replace(frames[index], path=image)])


def _of_ngff(image: Path) -> Volume:
    """Slices along z, where none is named."""
    folder, place = split_place(image)
    n_slices = count_slices(folder, place)
    if n_slices > MAX_SLICES:
        raise UnusableImageError(f"has {n_slices} slices")
    slices = (folder.with_name(f"{folder.name}#{written({**place, 'z': (z,)})}") for z in range(n_slices))
    return _of_level(image, "OME-Zarr", tuple(slices) or (image,))


def _of_level(image: Path, kind: FileKind | None, slices: tuple[Path, ...]) -> Volume:
    grid = grid_of(slices[0])
    return Volume(image, stem_of(image), slices, kind, grid.pixel_mm, downsampling=grid.downsampling)


def _of_nifti(image: Path, file: Path, index: int | None) -> Volume:
    volume = open_nifti(file)
    n_slices, affine = volume.n_slices, volume.shown_affine()
    if n_slices > MAX_SLICES or (index or 0) >= n_slices:
        raise UnusableImageError(f"has {n_slices} slices")
    affine[:3] *= _MM_PER_UNIT.get(int(volume.header["xyzt_units"]) & 7, 1.0)
    x, y, _ = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    alone = index is not None or n_slices == 1
    slices = (image,) if alone else tuple(file.with_name(f"{file.name}#{z}") for z in range(n_slices))
    return Volume(image, stem_of(image), slices, "NIfTI", (y, x), _from_slice(affine, index or 0))


def _of_frames(image: Path, frames: Sequence[DicomSlice], name: str = "") -> Volume:
    placement = place(frames)
    slices = tuple(frames[i].path for i in placement.order)
    return Volume(
        image,
        name or stem_of(image),
        slices,
        "DICOM",
        frames[0].pixel_mm,
        placement.affine,
        placement.reason,
        placement.remark,
    )


def _of_series(path: Path, singles: Sequence[DicomSlice]) -> list[Volume]:
    """Single-frame DICOM files as volumes: slices of one series together, every other file by itself."""
    groups = series_of(singles)
    scans = [slices for slices in groups if len(slices) > 1 and _is_scan(slices)]
    others = [one for slices in groups if slices not in scans for one in slices]
    volumes = [_of_frames(one.path, [one]) for one in others]
    folder = composed(path.resolve().name) or "series"
    for slices in scans:
        first = slices[place(slices).order[0]].path
        name = folder if len(scans) == 1 else f"{folder}_{stem_of(first)}"
        volumes.append(_of_frames(path if len(scans) == 1 else path / name, slices, name))
    return volumes


def _is_scan(slices: Sequence[DicomSlice]) -> bool:
    """Whether they are more than pictures of one plane, taken one after the other."""
    placement = place(slices)
    return placement.affine is not None or bool(placement.reason)
