"""NIfTI masks of DICOM series: a mask's slice belongs to the file that lies where it lies in the patient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..image_files.dicom_series import place, read_slices
from ..image_files.raster import UnusableImageError
from ..image_files.volumes import Volume, list_volumes
from .listing import FoundFile
from .matching import MatchedMasks, match_masks

_MAX_APART_MM = 0.01


@dataclass
class VolumeMasks:
    """Slices of NIfTI masks for the files of DICOM series."""

    masks: dict[int, Path] = field(default_factory=dict)
    """Index of an image → its mask (`FILE#INDEX`)."""
    problems: list[str] = field(default_factory=list)


def match_series(images: Sequence[FoundFile], matched: MatchedMasks) -> VolumeMasks:
    """Match NIfTI masks that no file is called like with folders of DICOM files, and take them from the unmatched."""
    folders = defaultdict(list)
    for i, one in enumerate(images):
        if one.kind == "DICOM" and i not in matched.masks:
            folders[one.path.parent].append(i)
    several = [indices for indices in folders.values() if len(indices) > 1]
    # A series goes by the name of its folder.
    names = [replace(images[indices[0]], path=images[indices[0]].path.parent) for indices in several]
    volumes = [one for one in matched.unmatched if one.kind == "NIfTI"]
    found, result = match_masks(names, volumes), VolumeMasks()
    result.problems += found.problems
    for k, parts in found.masks.items():
        _lay_on(result, parts[0].path, several[k], images)
    left = {one.path for one in found.unmatched}
    matched.unmatched = [one for one in matched.unmatched if one.kind != "NIfTI" or one.path in left]
    return result


def _lay_on(result: VolumeMasks, mask: Path, indices: Sequence[int], images: Sequence[FoundFile]) -> None:
    (volume,) = list_volumes(mask)
    try:
        placement = place([read_slices(images[i].path)[0] for i in indices])
    except UnusableImageError as error:
        result.problems.append(f"{images[indices[0]].path.parent} {error}")
        return
    if len(volume.slices) != len(indices) or not _same_grid(volume, placement.affine, len(indices)):
        result.problems.append(
            f"{mask} does not lie where the series {images[indices[0]].path.parent} does, slice by slice; resample it "
            "onto the series"
        )
        return
    result.masks |= {indices[k]: volume.slices[z] for z, k in enumerate(placement.order)}


def _same_grid(volume: Volume, affine: np.ndarray | None, n_slices: int) -> bool:
    if affine is None or volume.affine is None:
        return False
    # Beyond the first voxel, a difference of the axes grows with the distance.
    far = np.array([[0, 0, 0, 1], [512, 0, 0, 1], [0, 512, 0, 1], [0, 0, n_slices, 1]])
    apart = np.linalg.norm(far @ (affine - volume.affine).T, axis=1)
    return bool((apart <= _MAX_APART_MM).all())
