"""Masks that no file holds as they are needed: several masks of one image united, and other tools' annotations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from ...errors import DataError
from ..data.classes import Classes
from ..exchange.importing import read_annotations
from ..image_files.reading import open_image, read_mask
from .dicom import draw_segmentations
from .listing import FoundFile

MASKS_FOLDER = "masks"


@dataclass
class DrawnMasks:
    """Masks to be written beside the manifest."""

    files: dict[Path, bytes] = field(default_factory=dict)
    """Path → the content of a PNG file."""
    masks: dict[int, Path] = field(default_factory=dict)
    """Index of an image → the path of its mask."""
    classes: Mapping[int, str] | None = None
    """Value → name, where an export has named classes."""
    remarks: list[str] = field(default_factory=list)
    """Lines on what was drawn, and what was not."""
    problems: list[str] = field(default_factory=list)

    def add(self, other: DrawnMasks) -> None:
        """Take up masks of other images."""
        twice = sorted({*self.files} & {*other.files})
        self.problems += [f"two images' masks are both called {path.name}; rename one of the images" for path in twice]
        self.files |= other.files
        self.masks |= other.masks
        self.classes = other.classes or self.classes
        self.remarks += other.remarks
        self.problems += other.problems


def unite(parts: Mapping[int, Sequence[FoundFile]], images: Sequence[FoundFile], folder: Path) -> DrawnMasks:
    """Unite the masks of images that have several: foreground is what any of them has as foreground.

    Args:
        parts: index of an image → its masks.
        images: all images.
        folder: for the PNG files.
    """
    drawn = DrawnMasks()
    for i, files in parts.items():
        try:
            _keep(drawn, i, images, folder, _union([one.path for one in files]))
        except DataError as error:
            drawn.problems.append(str(error))
    n_masks = sum(map(len, parts.values()))
    drawn.remarks += [f"{n_masks} masks of {len(parts)} images united"] if parts else []
    return drawn


def _union(paths: Sequence[Path]) -> Integer[np.ndarray, "y x"]:
    """The pixels that any mask marks, as the value that all of them mark with."""
    united, values = read_mask(paths[0]), set[int]()
    for path in paths:
        mask = read_mask(path)
        if mask.shape != united.shape:
            raise DataError(f"{path} and {paths[0]} are masks of one image and differ in size; save them alike")
        values |= {*np.unique(mask).tolist()} - {0}
        united = np.maximum(united, mask)
    if len(values) > 1:
        shown = ", ".join(map(str, sorted(values)[:5]))
        raise DataError(
            f"{paths[0]} and the image's other masks hold several values ({shown}), so that it is not known how they "
            "go together; make one mask of them"
        )
    return united


def draw_annotations(export: Path, images: Sequence[FoundFile], folder: Path, declared: Classes | None) -> DrawnMasks:
    """Draw the masks that an export of GeoJSON, COCO, Label Studio or CVAT describes.

    Args:
        export: the file or folder.
        images: all images.
        folder: for the PNG files.
        declared: the classes of the masks; `None`: as the export has them.

    Raises:
        DataError: It is no such export, or an image's size cannot be read.
    """
    names = {one.name: i for i, one in enumerate(images)}
    sizes = {name: open_image(images[i].path).size for name, i in names.items()}
    classes = dict(zip(declared.ids, declared.names, strict=True)) if declared else None
    annotations = read_annotations(export, sizes, classes)
    drawn = DrawnMasks(classes=annotations.classes)
    drawn.remarks.append(f"{len(annotations.images)} masks drawn from {annotations.tool}")
    drawn.remarks += annotations.left_out
    for name in annotations.images:
        try:
            mask = annotations.draw(name)
        except DataError as error:
            drawn.problems.append(str(error))
        else:
            drawn.remarks += mask.remarks
            _keep(drawn, names[name], images, folder, mask.mask)
    return drawn


def draw_referred(
    segmentations: Sequence[FoundFile], images: Sequence[FoundFile], folder: Path, masked: Collection[int]
) -> DrawnMasks:
    """Draw DICOM segmentations as masks of the images that they refer to.

    Args:
        segmentations: the files.
        images: all images.
        folder: for the PNG files.
        masked: images that have a mask of their own, which may not have another one.
    """
    by_instance = {one.header.instance: i for i, one in enumerate(images) if one.header}
    try:
        segmented = draw_segmentations([one.path for one in segmentations], by_instance)
    except DataError as error:
        return DrawnMasks(problems=[str(error)])
    drawn = DrawnMasks(classes=segmented.classes)
    drawn.problems += [
        f"{images[i].path} has a mask by its name and one in a DICOM segmentation; choose one with --leave-out"
        for i in segmented.masks
        if i in masked
    ]
    for i, mask in segmented.masks.items():
        _keep(drawn, i, images, folder, mask)
    drawn.remarks.append(f"{len(drawn.files)} masks drawn from {len(segmentations)} DICOM segmentations")
    return drawn


def _keep(
    drawn: DrawnMasks, i: int, images: Sequence[FoundFile], folder: Path, mask: Integer[np.ndarray, "y x"]
) -> None:
    """Add a mask under its image's name; with the folders before it, where another image's is called so."""
    path = folder / f"{images[i].stem}.png"
    if path in drawn.files:
        path = folder / f"{'_'.join((*images[i].folders, images[i].stem))}.png"
    if path in drawn.files:
        drawn.problems.append(f"{images[i].path}: another image's mask is called {path.name} too; rename the image")
    drawn.files[path] = _png(mask)
    drawn.masks[i] = path


def _png(mask: Integer[np.ndarray, "y x"]) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()
