"""GeoJSON of QuPath, any version, and of other programs: outlines of one image a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ....errors import DataError
from ..annotations import Annotations, Colour, ImageNames, OutlinedImage, Size, match_images, number_classes
from ..geojson import Placement
from .drawing import Annotation
from .json_files import listed, text_of
from .polygons import Polygons, ring_of

FOREGROUND = "foreground"


def is_geojson(content: object) -> bool:
    """Whether a JSON file's content is a FeatureCollection, a list of features, a feature or a geometry."""
    first = content[0] if isinstance(content, list) and content else content
    kinds = {"FeatureCollection", "Feature", "GeometryCollection", *_AREAS, *_NO_AREAS}
    return isinstance(first, dict) and text_of(first.get("type")) in kinds


_AREAS = ("Polygon", "MultiPolygon")
_NO_AREAS = ("Point", "MultiPoint", "LineString", "MultiLineString")


def read_geojson(
    contents: Mapping[str, Any],
    names: ImageNames,
    declared: Mapping[int, str] | None = None,
    placement: Placement | None = None,
) -> Annotations:
    """Read outlines of QuPath or of any other program.

    A class is QuPath's `classification`. Where no outline of all files has one, all are of the one class that is
    declared beside the background, or "foreground"; where some have, those without are left out: they often only frame
    the part that was looked at.

    Args:
        contents: name of an image → the content of its file.
        names: the images.
        declared: class value → name; `None`: 1, 2, ... in the order of the names.
        placement: of the images in the slide that the outlines are of.
    """
    features = {name: _features(content) for name, content in contents.items()}
    described = [_class_of(feature) for own in features.values() for feature in own if _has_area(feature)]
    found = sorted({class_name for class_name, _ in described if class_name})
    default = "" if found else _foreground_of(declared)
    remarks = [line for name, own in features.items() for line in _unused(name, own, default)]
    remarks += [] if found else _other_names(features.values(), default)
    entries = ((name, partial(_annotated, own, default, placement or Placement())) for name, own in features.items())
    images, left_out = match_images(entries, names)
    classes = number_classes(found or [default], declared)
    shown = {class_name: colour for class_name, colour in described if colour is not None}
    colours = {value: shown[class_name] for value, class_name in classes.items() if class_name in shown}
    return Annotations("GeoJSON", classes, images, (*left_out, *remarks), colours)


def _foreground_of(declared: Mapping[int, str] | None) -> str:
    """The one class beside the background, which is the lowest value."""
    names = [declared[value] for value in sorted(declared)[1:]] if declared else []
    return names[0] if len(names) == 1 else FOREGROUND


def _features(content: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Features of a file; a bare geometry is one without properties."""
    entries = listed({"all": content if isinstance(content, list) else [content]}, "all")
    opened = [part for entry in entries for part in (listed(entry, "features") or [entry])]
    return [
        part if part.get("type") == "Feature" else {"geometry": part}
        for part in opened
        if part.get("type") != "FeatureCollection"
    ]


def _geometries(feature: Mapping[str, Any]) -> list[dict[str, Any]]:
    geometry = feature.get("geometry")
    parts = listed(geometry, "geometries") if isinstance(geometry, dict) else []
    return parts or ([geometry] if isinstance(geometry, dict) else [])


def _has_area(feature: Mapping[str, Any]) -> bool:
    return any(geometry.get("type") in _AREAS for geometry in _geometries(feature))


def _class_of(feature: Mapping[str, Any]) -> tuple[str, Colour | None]:
    """Name ("" for none) and colour: of QuPath's classification, of any version."""
    properties = feature.get("properties")
    declared = properties.get("classification") if isinstance(properties, dict) else None
    if not isinstance(declared, dict):
        return text_of(declared), None
    parts = declared.get("names")
    name = text_of(declared.get("name")) or (": ".join(map(text_of, parts)) if isinstance(parts, list) else "")
    colour, packed = declared.get("color"), declared.get("colorRGB")
    if isinstance(colour, list) and len(colour) == 3 and all(isinstance(c, int) and 0 <= c < 256 for c in colour):
        return name, (colour[0], colour[1], colour[2])
    if isinstance(packed, int):
        return name, (packed >> 16 & 255, packed >> 8 & 255, packed & 255)
    return name, None


def _unused(name: str, features: Iterable[Mapping[str, Any]], default: str) -> Iterator[str]:
    """Lines on points and lines, and on outlines without a class."""
    n_flat = n_unnamed = 0
    for feature in features:
        n_flat += not _has_area(feature)
        n_unnamed += _has_area(feature) and not (_class_of(feature)[0] or default)
    if n_flat:
        yield f"{name}: {n_flat} points, lines or empty outlines cover no area and are left out"
    if n_unnamed:
        yield f"{name}: {n_unnamed} outlines have no class, unlike others, and are left out"


def _other_names(of_images: Iterable[Iterable[Mapping[str, Any]]], default: str) -> list[str]:
    """A line on properties of outlines that might be classes, where no outline has one."""
    every = [feature.get("properties") for features in of_images for feature in features]
    keys = {key for own in every if isinstance(own, dict) for key, value in own.items() if isinstance(value, str)}
    found = ", ".join(map(repr, sorted(keys - {"objectType"})[:5]))
    return (
        [f"no outline has a `classification`, all are {default!r}; not read: the properties {found}"] if found else []
    )


def _annotated(features: Iterable[Mapping[str, Any]], default: str, placement: Placement, size: Size) -> OutlinedImage:
    annotations = []
    for feature in features:
        class_name = _class_of(feature)[0] or default
        if class_name and _has_area(feature):
            annotations.append(Annotation(class_name, _polygons_of(feature, placement)))
    return OutlinedImage(size, tuple(annotations))


def _polygons_of(feature: Mapping[str, Any], placement: Placement) -> Polygons:
    try:
        return Polygons(
            tuple(
                tuple(placement.to_pixels(ring_of(ring)) for ring in rings)
                for geometry in _geometries(feature)
                for rings in _polygons_in(geometry)
            )
        )
    except DataError as error:
        raise DataError(f"feature {text_of(feature.get('id'), '?')}: {error}") from error


def _polygons_in(geometry: Mapping[str, Any]) -> list[list[Any]]:
    """Rings of each polygon."""
    coordinates, kind = geometry.get("coordinates"), geometry.get("type")
    if kind not in _AREAS:
        return []
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons or not all(isinstance(one, list) and one for one in polygons):
        raise DataError("a polygon has no rings")
    return polygons
