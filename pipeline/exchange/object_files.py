"""Files of `predict` that hold objects: label image and table, GeoJSON, COCO; and outlines without splitting."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from tempfile import TemporaryFile

import numpy as np
from jaxtyping import Float32, UInt

from ...cache.storage.atomic import write_durably
from ..image_files.raster import MAX_PIXELS
from ..image_files.volumes import Volume
from .coco import CocoDataset
from .geojson import FeatureEncoder, Placement, area_feature, object_features, pieces_of_collection, write_geojson
from .objects import find_objects, object_table, write_label_image, write_object_table
from .outlines import Outline, OutlineTracer
from .outputs import CollectedMask, MaskBand, OutputFormat, OutputTarget

_ROWS_AT_ONCE = 64  # of a wide band, of which tracing takes some 60 bytes a pixel
GEOJSON, COCO, LABELS, TABLE = ".geojson", "_coco.json", "_objects.tif", "_objects.csv"


def object_files(*, table: bool = False, geojson: bool = False, coco: bool = False) -> OutputFormat:
    """Objects, split where they touch, once for all the files that are wanted.

    Args:
        table: `NAME_objects.tif`, a label image, and `NAME_objects.csv`, a line for each object.
        geojson: `NAME.geojson`, a detection for each object.
        coco: `NAME_coco.json`, an annotation for each object.
    """
    wanted = {GEOJSON: geojson, COCO: coco, LABELS: table, TABLE: table}
    suffixes = tuple(suffix for suffix, is_wanted in wanted.items() if is_wanted)
    return OutputFormat(suffixes, partial(_open, suffixes), size_refusal=_too_large)


def _open(suffixes: tuple[str, ...], target: OutputTarget) -> CollectedMask:
    return CollectedMask(target, partial(_write, suffixes))


def _too_large(volume: Volume, size: tuple[int, int]) -> str | None:
    height, width = size
    if height * width <= MAX_PIXELS:
        return None
    return (
        f"{volume.path} has {height} x {width} pixels, and objects are found in at most {MAX_PIXELS}; "
        "write --formats geojson without --objects, which has outlines of connected areas"
    )


def _write(
    suffixes: tuple[str, ...],
    target: OutputTarget,
    mask: UInt[np.ndarray, "y x"],
    probability: Float32[np.ndarray, "y x"],
) -> None:
    objects = find_objects(mask, target.classes, background=_background(target))
    table = object_table(objects, target.classes, confidence=probability, pixel_mm=target.volume.pixel_mm)
    if LABELS in suffixes:
        write_label_image(target.file(LABELS), objects.labels)
        write_object_table(target.file(TABLE), table)
    if GEOJSON in suffixes:
        features = object_features(objects, target.volume.name, _measurements(table, _placement(target)))
        write_geojson(target.file(GEOJSON), features, FeatureEncoder(_foreground(target), placement=_placement(target)))
    if COCO in suffixes:
        dataset = CocoDataset(_foreground(target))
        dataset.add(target.volume.slices[0].name, objects)
        dataset.write(target.file(COCO))


def _background(target: OutputTarget) -> int:
    return next(iter(target.classes))


def _foreground(target: OutputTarget) -> dict[int, str]:
    return {value: name for value, name in target.classes.items() if value != _background(target)}


def _placement(target: OutputTarget) -> Placement:
    """Outlines are in pixels of full resolution, whichever level was segmented."""
    y, x = target.volume.downsampling
    return Placement(scale_x=x, scale_y=y)


def _measurements(table: Mapping[str, list[float | int | str]], placement: Placement) -> dict[int, dict[str, float]]:
    """Number of an object → areas and probability, as QuPath shows them: in pixels of full resolution, as outlines."""
    shown = {"area_px": "Area px^2", "area_mm2": "Area mm^2", "mean_probability": "Mean probability"}
    columns = [(name, table[column]) for column, name in shown.items() if column in table]
    of = {int(number): {name: float(values[i]) for name, values in columns} for i, number in enumerate(table["id"])}
    for measured in of.values():
        measured["Area px^2"] *= placement.scale_x * placement.scale_y
    return of


class AreaOutlines:
    """GeoJSON of connected areas, as annotations: traced band by band, so that slides of any size have room."""

    def __init__(self, target: OutputTarget) -> None:
        """Of one image or slice."""
        self._target, self._background = target, _background(target)
        self._tracer = OutlineTracer(target.size[1])
        self._encoder = FeatureEncoder(_foreground(target), object_type="annotation", placement=_placement(target))
        self._encoded = TemporaryFile(dir=target.folder)  # noqa: SIM115
        self._lengths: list[int] = []

    def add(self, band: MaskBand) -> None:
        """Trace the next rows."""
        for top in range(0, len(band.mask), _ROWS_AT_ONCE):
            rows = band.mask[top : top + _ROWS_AT_ONCE]
            self._keep(self._tracer.add(np.where(rows == self._background, 0, rows)))

    def _keep(self, outlines: list[Outline]) -> None:
        for outline in outlines:
            encoded = self._encoder.encode(area_feature(outline, self._target.volume.name))
            self._encoded.write(encoded)
            self._lengths.append(len(encoded))

    def finish(self) -> None:
        """Write the file."""
        self._keep(self._tracer.finish())
        self._encoded.seek(0)
        encoded = map(self._encoded.read, self._lengths)
        write_durably(self._target.file(GEOJSON), pieces_of_collection(encoded))
        self.discard()

    def discard(self) -> None:
        """Let go of what is kept."""
        self._encoded.close()
