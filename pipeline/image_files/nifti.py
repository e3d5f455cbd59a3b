"""One slice of a NIfTI volume, as a radiologist looks at it.

The volume is taken in the orientation closest to RAS (voxel axes towards the patient's right, front and head) and cut
across its third axis: slice 0 is the lowest. The slice is shown in the radiological convention, from the feet: rows run
from the front of the body to its back, columns from the patient's right, on the left of the image, to the left.
Where a file is a single plane across another axis, that plane is shown by the same rule: the head or the front above,
the patient's right or front on the left. Image and mask go through the same steps and so stay aligned, and a predicted
mask goes the same way back: `NiftiVolume.plane` is a view, to be read or written.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from .paths import GZIP, kind_of, read_head, split_slice, version_of
from .raster import Raster, UnusableImageError, broken_bytes, check_size

MAX_UNPACKED_BYTES = 2**31
"""Of a `.nii.gz`, which can only be unpacked whole; slices of a `.nii` are read from the file."""
MAX_KEPT_BYTES = 2**30
"""Of the volumes that stay unpacked, an image's and its mask's in turn; the last one stays whatever its size."""
_MAX_KEPT = 4
_MAX_APART_MM = 0.01
_opening = Lock()


@dataclass(frozen=True)
class NiftiVolume:
    """An opened file."""

    values: Any
    """nibabel's proxy: indexing it reads and scales just the part that is asked for."""
    header: Any
    """nibabel's, as it stands in the file."""
    shape: tuple[int, int, int]
    """Voxels along the stored axes."""
    axes: tuple[int, int, int]
    """The stored axis that runs along right, anterior, superior."""
    towards: tuple[int, int, int]
    """+1 where the stored axis goes the way of that name, -1 where the opposite."""
    canonical: Float[np.ndarray, "4 4"]
    """Voxels in RAS order → millimetres."""
    affine: Float[np.ndarray, "4 4"]
    """Voxels as stored → millimetres in RAS."""
    size_bytes: int
    """Memory that it fills: nothing to speak of for a `.nii`."""

    @property
    def through(self) -> int:
        """Direction across which slices are cut: 2 (superior), or the one across which the file is a single plane."""
        across = [direction for direction in (2, 1, 0) if self.shape[self.axes[direction]] == 1]
        return across[0] if across else 2

    @property
    def n_slices(self) -> int:
        """Number of planes that can be shown."""
        return self.shape[self.axes[self.through]]

    def plane(self, values: Any, index: int) -> Real[np.ndarray, "y x"]:  # noqa: ANN401
        """A slice as it is shown; of an array of the volume's shape a view, through which it can be written."""
        x, y = (direction for direction in range(3) if direction != self.through)
        cut = self.axes[self.through]
        where: list[slice | int] = [slice(None)] * 3
        where[cut] = index if self.towards[self.through] > 0 else self.shape[cut] - 1 - index
        plane = np.asarray(values[tuple(where)])
        rows_first = plane if self.axes[y] < self.axes[x] else plane.T
        return rows_first[:: -self.towards[y], :: -self.towards[x]]

    def shown_affine(self) -> Float[np.ndarray, "4 4"]:
        """(x, y, slice) as shown → millimetres in RAS."""
        x, y = (direction for direction in range(3) if direction != self.through)
        stored_of_shown = np.zeros((4, 4))
        stored_of_shown[3, 3] = 1
        for shown, direction, sense in ((0, x, -1), (1, y, -1), (2, self.through, 1)):
            axis, step = self.axes[direction], sense * self.towards[direction]
            stored_of_shown[axis, shown] = step
            stored_of_shown[axis, 3] = 0 if step > 0 else self.shape[axis] - 1
        affine: np.ndarray = self.affine @ stored_of_shown
        return affine


_kept: dict[tuple[Path, int, int], NiftiVolume] = {}
"""The volumes opened last, by path and version, the latest at the end."""


def read_nifti(path: Path, index: int | None) -> Raster:
    """The slice `index` (from 0, the lowest) of a NIfTI file; `None` for the only one. Scaling is applied.

    Raises:
        UnusableImageError: There is no such slice, the file is no volume of real numbers, is broken or too large, or
            the extra that reads NIfTI is not installed.
    """
    volume = open_nifti(path)
    n_slices = volume.n_slices
    if (index is None and n_slices > 1) or (index or 0) >= n_slices:
        last = f" to {path.name}#{n_slices - 1}" if n_slices > 1 else ""
        raise UnusableImageError(f"holds {n_slices} slice{'s' * (n_slices > 1)}; name one of them: {path.name}#0{last}")
    with broken_bytes():
        shown = volume.plane(volume.values, index or 0)
        pixels = np.ascontiguousarray(shown, shown.dtype.newbyteorder("="))
    return Raster(pixels, 8 * pixels.dtype.itemsize)


def misplaced(image: Path, mask: Path) -> bool:
    """Whether both are slices of NIfTI volumes whose voxels lie at different places of the patient.

    Each is turned to RAS first, so that how the voxels are stored does not matter. Then each of the eight corners of
    the image's volume must lie within 0.01 mm of where the mask puts it, and with them every voxel between. Headers
    lose far less in float32.
    """
    files = [split_slice(path)[0] for path in (image, mask)]
    if any(file.is_dir() or kind_of(read_head(file)) != "NIfTI" for file in files):
        return False
    one, other = map(open_nifti, files)
    corners = np.array([(*corner, 1) for corner in product(*((0, one.shape[axis] - 1) for axis in one.axes))])
    apart = corners @ (one.canonical - other.canonical).T  # in mm; the last column is 0
    return not bool((np.linalg.norm(apart, axis=1) <= _MAX_APART_MM).all())


def open_nifti(path: Path) -> NiftiVolume:
    """The volume in a NIfTI file; those opened last are kept.

    Raises:
        UnusableImageError: The file is no volume of real numbers, is broken or too large, or the extra that reads NIfTI
            is not installed.
    """
    with _opening:  # or every worker would unpack a volume whose slices come one after the other
        key = (path, *version_of(path))
        volume = _kept.pop(key, None) or _open(path)
        _kept[key] = volume
        while len(_kept) > 1 and (len(_kept) > _MAX_KEPT or _kept_bytes() > MAX_KEPT_BYTES):
            del _kept[next(iter(_kept))]
        return volume


def _kept_bytes() -> int:
    return sum(volume.size_bytes for volume in _kept.values())


def _open(path: Path) -> NiftiVolume:
    try:
        import nibabel
    except ImportError as error:
        raise UnusableImageError("is a NIfTI file; install textdiff[medical] to read it") from error
    with broken_bytes():
        image, size_bytes = _load(nibabel, path)
        shape = (*image.shape, 1, 1)[:3]
        _refuse_odd(image, shape)
        directions = nibabel.io_orientation(image.affine)
        if np.isnan(directions).any():
            raise UnusableImageError("does not say how its axes lie in the patient; correct its affine")
        axes = np.argsort(directions[:, 0])
        canonical = image.affine @ nibabel.orientations.inv_ornt_aff(directions, shape)
    towards = directions[axes, 1].astype(int)
    values = image.dataobj.reshape(shape)
    return NiftiVolume(
        values,
        image.header,
        shape,
        tuple(axes.tolist()),
        tuple(towards.tolist()),
        canonical,
        image.affine,
        size_bytes,
    )


def _load(nibabel: Any, path: Path) -> tuple[Any, int]:  # noqa: ANN401
    """Nibabel's image, and how many bytes it keeps in memory."""
    packed = read_head(path).startswith(GZIP)
    with gzip.open(path) if packed else path.open("rb") as file:
        kind = nibabel.Nifti2Image if file.read(8)[4:] == b"n+2\0" else nibabel.Nifti1Image
        if not packed:
            return kind.from_file_map({"image": nibabel.FileHolder(str(path))}), 0
        file.seek(0)
        content = file.read(MAX_UNPACKED_BYTES + 1)
    if len(content) > MAX_UNPACKED_BYTES:
        raise UnusableImageError(
            f"unpacks to over {MAX_UNPACKED_BYTES} bytes; unpack it with gunzip: slices of a .nii are read alone"
        )
    return kind.from_bytes(content), len(content)


def _refuse_odd(image: Any, shape: tuple[int, int, int]) -> None:  # noqa: ANN401
    if prod(image.shape) != prod(shape):
        raise UnusableImageError(
            f"holds {len(image.shape)} dimensions {image.shape}; export the one volume that is meant"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise UnusableImageError(f"holds {image.get_data_dtype()} values; save it as integers or floats")
    least, height, width = sorted(shape)  # the largest of the planes is the last two
    check_size(least, height)
    check_size(height, width)
