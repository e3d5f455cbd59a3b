"""Masks of volumes as NIfTI: on the grid of the image, voxel for voxel.

The mask of a NIfTI file has that file's shape, orientation, affine and header geometry. The mask of DICOM slices, or of
one slice of a NIfTI file, is stored as it is shown, (x, y, z), with the affine of that grid.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from math import prod
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from jaxtyping import Float

from ...cache.storage.atomic import reserve, write_durably
from ..image_files.nifti import NiftiVolume, open_nifti
from ..image_files.volumes import Volume
from .outputs import MaskBand, OutputTarget

SUFFIX = ".nii.gz"
_CHUNK_BYTES = 2**22
_MOST_SHEAR = 1e-4


def without_affine(volume: Volume) -> str | None:
    """Reason why there can be no NIfTI mask of a volume, and the way out; `None`: there can."""
    if volume.affine is not None:
        return None
    if volume.uneven:
        return (
            f"{volume.path}: {volume.uneven}; a NIfTI mask would show them at wrong places: complete the series, or "
            "give --formats png (a mask for each slice)"
        )
    return f"{volume.path}: it does not say where its pixels lie in a patient; leave nifti out of --formats"


class NiftiMask:
    """A volume's mask, whole volumes of any size: it grows in an unnamed file and is then compressed to its own."""

    def __init__(self, target: OutputTarget) -> None:
        volume = target.volume
        self._path = target.file(SUFFIX)
        self._stored = open_nifti(volume.path) if volume.kind == "NIfTI" and volume.is_whole else None
        shown = (target.size[1], target.size[0], len(volume.slices))
        self._shape = self._stored.shape if self._stored else shown
        self._header = _header_like(self._stored) if self._stored else _header_of(shown, volume.affine)
        self._header.set_data_dtype(target.dtype)
        self._file = TemporaryFile(dir=target.folder)  # noqa: SIM115 - `discard` closes it
        try:
            reserve(self._file, prod(self._shape) * target.dtype.itemsize)
            dtype = self._header.get_data_dtype()
            self._voxels = np.memmap(self._file, dtype, "r+", shape=self._shape, order="F")
        except BaseException:
            self.discard()
            raise

    def add(self, band: MaskBand) -> None:
        """Write the rows where the image has them."""
        plane = self._stored.plane(self._voxels, band.index) if self._stored else self._voxels[:, :, band.index].T
        plane[band.top : band.top + len(band.mask)] = band.mask

    def finish(self) -> None:
        """Write the compressed file."""
        write_durably(self._path, _compressed(self._content()))
        self.discard()

    def discard(self) -> None:
        """Close the unnamed file, which is gone with that."""
        self._file.close()

    def _content(self) -> Iterator[bytes]:
        header = BytesIO()
        self._header.write_to(header)
        yield header.getvalue()
        self._voxels.flush()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            yield chunk


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """As gzip packs it, without a time, so that equal masks are equal files."""
    packer = zlib.compressobj(6, wbits=31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _header_like(stored: NiftiVolume) -> Any:  # noqa: ANN401
    """A header with the geometry of a file, and nothing else of it: texts and extensions may tell of the patient."""
    header = type(stored.header)(endianness="<")
    header.set_data_shape(stored.header.get_data_shape())
    for name in _GEOMETRY:
        header[name] = stored.header[name]
    return _as_single_file(header)


_GEOMETRY = (
    "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def _header_of(shape: tuple[int, int, int], affine: Float[np.ndarray, "4 4"] | None) -> Any:  # noqa: ANN401
    """A header for a grid that is given by its affine, in millimetres."""
    import nibabel

    if affine is None:
        raise AssertionError("asked for a NIfTI mask of a volume without an affine")
    kind = nibabel.Nifti1Header if max(shape) < 2**15 else nibabel.Nifti2Header
    header = kind(endianness="<")
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_sform(affine, "scanner")
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() < _MOST_SHEAR:  # a quaternion holds no shear
        header.set_qform(affine, "scanner")
    return _as_single_file(header)


def _as_single_file(header: Any) -> Any:  # noqa: ANN401
    header.set_data_offset(header.single_vox_offset)
    header["scl_slope"], header["scl_inter"] = np.nan, np.nan
    header["descrip"] = b"textdiff mask"
    return header
