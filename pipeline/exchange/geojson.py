"""GeoJSON for QuPath: a feature for each object or outlined area, in pixels of the slide."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ...cache.storage.atomic import canonical_json, write_durably
from .annotations import Colour
from .objects import Objects
from .outlines import Outline, Ring, trace

ObjectType = Literal["annotation", "detection"]
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
"""Of classes in turn; told apart by colour-blind people too (Okabe & Ito 2008, Color Universal Design)."""
_IDS = uuid.UUID("5b0f6f0c-5d0a-5b57-9d5e-9a1f0c0de001")


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the slide that its outlines are for: slide = (x, y) + scale × pixel, along each axis."""

    x: float = 0.0
    y: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0

    def to_slide(self, ring: Ring) -> list[list[float | int]]:
        """Corners in the slide, the first repeated as the last."""
        closed = np.concatenate([ring, ring[:1]])
        if self == Placement():
            whole: list[list[float | int]] = closed.tolist()
            return whole
        corners: list[list[float | int]] = (closed * (self.scale_x, self.scale_y) + (self.x, self.y)).tolist()
        return corners

    def to_pixels(self, ring: Ring) -> Ring:
        """Corners in the image."""
        return (ring - (self.x, self.y)) / (self.scale_x, self.scale_y)


class Feature(NamedTuple):
    """An object or area to be written."""

    key: str
    """Its id in QuPath follows from this; equal keys have equal ids."""
    class_value: int
    outlines: tuple[Outline, ...]
    measurements: Mapping[str, float] = {}


def object_features(
    objects: Objects, name: str = "", measurements: Mapping[int, Mapping[str, float]] | None = None
) -> Iterator[Feature]:
    """A feature for each object, in order of the numbers.

    Args:
        objects: from `find_objects`.
        name: of the image; ids follow from it and from the number.
        measurements: number → name → value, which QuPath shows.
    """
    of_object: dict[int, list[Outline]] = {}
    for outline in trace(objects.labels):
        of_object.setdefault(outline.label, []).append(outline)
    for number in sorted(of_object):
        value = int(objects.classes[number - 1])
        yield Feature(f"{name}/{number}", value, (*of_object[number],), (measurements or {}).get(number, {}))


def area_feature(outline: Outline, name: str = "") -> Feature:
    """A feature of one outline of a mask of class values, for slides that are traced band by band."""
    x, y = outline.rings[0][0].tolist()
    return Feature(f"{name}/{outline.label}/{x}/{y}", outline.label, (outline,))


class FeatureEncoder:
    """Features as JSON; equal features give equal bytes."""

    def __init__(
        self,
        classes: Mapping[int, str],
        *,
        colours: Mapping[int, Colour] | None = None,
        object_type: ObjectType = "detection",
        placement: Placement | None = None,
    ) -> None:
        """Of classes, their looks and their place.

        Args:
            classes: class value → name.
            colours: class value → colour; others have `COLOURS` in turn.
            object_type: detections are many and fast in QuPath, annotations can be edited.
            placement: of the image in the slide; `None`: the image is the slide.
        """
        shown = {value: COLOURS[i % len(COLOURS)] for i, value in enumerate(sorted(classes))} | {**(colours or {})}
        self._classification = {value: {"name": name, "color": [*shown[value]]} for value, name in classes.items()}
        self._object_type, self._placement = object_type, placement or Placement()

    def encode(self, feature: Feature) -> bytes:
        """One feature."""
        properties = {
            "objectType": self._object_type,
            "classification": self._classification[feature.class_value],
            **({"measurements": {**feature.measurements}} if feature.measurements else {}),
        }
        return canonical_json(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(_IDS, feature.key)),
                "geometry": _geometry(feature.outlines, self._placement),
                "properties": properties,
            }
        )


def write_geojson(path: Path, features: Iterable[Feature], encoder: FeatureEncoder) -> None:
    """Write a FeatureCollection durably, feature by feature."""
    write_durably(path, pieces_of_collection(map(encoder.encode, features)))


def pieces_of_collection(encoded: Iterable[bytes]) -> Iterator[bytes]:
    """A FeatureCollection, a line for each of the encoded features."""
    yield b'{"type":"FeatureCollection","features":['
    separator = b"\n"
    for feature in encoded:
        yield separator + feature
        separator = b",\n"
    yield b"\n]}\n"


def _geometry(outlines: tuple[Outline, ...], placement: Placement) -> dict[str, Any]:
    polygons = [[placement.to_slide(ring) for ring in outline.rings] for outline in outlines]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
