"""Objects of a mask: numbered pixels, and a table with one line for each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Bool, Float, UInt, UInt16, UInt32
from scipy import ndimage
from skimage.measure import regionprops_table

from ...cache.storage.atomic import write_durably
from ...stages.metrics.instances import split_objects

MOST_OF_16_BITS = 2**16 - 1


@dataclass(frozen=True)
class Objects:
    """The objects of one image."""

    labels: UInt[np.ndarray, "y x"]
    """Number of each pixel's object, 1, 2, ..., and 0: uint16, or uint32 where there are more than 65,535."""
    classes: UInt16[np.ndarray, "object"]
    """Class value of each object, in order of the numbers."""


def find_objects(mask: UInt[np.ndarray, "y x"], values: Mapping[int, str], background: int = 0) -> Objects:
    """Split each class of a mask into objects, those that touch one by one (`split_objects`).

    Numbers follow the class values, and within a class the order of reading of connected areas. Equal masks have equal
    objects.

    Args:
        mask: class values.
        values: class value → name; other values of the mask, such as "not labelled", are no objects.
        background: the class without objects.
    """
    labels = np.zeros(mask.shape, np.uint32)
    classes: list[int] = []
    for value in sorted(set(values) - {background}):
        classes += [value] * _number(mask == value, labels, len(classes))
    narrow = labels.astype(np.uint16) if len(classes) <= MOST_OF_16_BITS else labels
    return Objects(narrow, np.array(classes, np.uint16))


def _number(mask: Bool[np.ndarray, "y x"], labels: UInt32[np.ndarray, "y x"], n_before: int) -> int:
    """Number the objects of a mask in `labels`, after those before, and count them.

    Connected areas are split one by one, each in its own box: a watershed of a large image in one piece takes tens of
    bytes a pixel. The objects are those of the whole mask, since the background nearest to a pixel borders on the
    pixel's own area; only pixels equally near to two objects may go to the other one.
    """
    areas, _ = ndimage.label(mask, np.ones((3, 3)))
    n_found = 0
    for number, box in enumerate(ndimage.find_objects(areas), start=1):
        of_area = areas[box] == number
        # Where every pixel is an edge there is no neck.
        split = split_objects(np.pad(of_area, 1))[1:-1, 1:-1] if min(of_area.shape) > 2 else of_area
        labels[box][of_area] = split[of_area] + (n_before + n_found)
        n_found += int(split.max())
    return n_found


def write_label_image(path: Path, labels: UInt[np.ndarray, "y x"]) -> None:
    """Write numbers of objects, or values of classes, as a compressed TIFF, durably, with as many bits as they have."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, labels, compression="zlib", photometric="minisblack")
    write_durably(path, [buffer.getbuffer()])


def object_table(
    objects: Objects,
    names: Mapping[int, str],
    *,
    confidence: Float[np.ndarray, "y x"] | None = None,
    pixel_mm: tuple[float, float] | None = None,
) -> dict[str, list[float | int | str]]:
    """Columns of the table: id, class, area, centroid, mean probability, and areas and centroids in mm.

    Centroids count pixels from the middle of the upper left one, which is (0, 0).

    Args:
        objects: from `find_objects`.
        names: class value → name.
        confidence: probability of each pixel's own class; `None`: no column `mean_probability`.
        pixel_mm: from one pixel's centre to the next in mm, along y and x; `None`: no columns in mm.
    """
    properties = ["label", "area", "centroid"] + (["intensity_mean"] if confidence is not None else [])
    measured = regionprops_table(objects.labels, confidence, properties=properties)
    table: dict[str, list[float | int | str]] = {
        "id": measured["label"].tolist(),
        "class": [names[value] for value in objects.classes.tolist()],
        "area_px": measured["area"].astype(int).tolist(),
        "centroid_y_px": measured["centroid-0"].round(3).tolist(),
        "centroid_x_px": measured["centroid-1"].round(3).tolist(),
    }
    if confidence is not None:
        table["mean_probability"] = measured["intensity_mean"].round(4).tolist()
    if pixel_mm is not None:
        table["area_mm2"] = _significant(measured["area"] * pixel_mm[0] * pixel_mm[1])
        table["centroid_y_mm"] = _significant(measured["centroid-0"] * pixel_mm[0])
        table["centroid_x_mm"] = _significant(measured["centroid-1"] * pixel_mm[1])
    return table


def _significant(values: Float[np.ndarray, "object"]) -> list[float | int | str]:
    """Six digits: pixels of a slide are 0.00025 mm."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def write_object_table(path: Path, table: Mapping[str, list[float | int | str]]) -> None:
    """Write the columns as CSV (UTF-8, commas), durably."""
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    write_durably(path, [text.getvalue().encode()])
