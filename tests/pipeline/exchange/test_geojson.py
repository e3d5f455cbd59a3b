"""GeoJSON: exact outlines that shapely reads; QuPath's files and those of other programs."""

import json
from pathlib import Path

import numpy as np
import pytest

from textdiff.errors import DataError
from textdiff.pipeline.exchange.annotations import ImageNames
from textdiff.pipeline.exchange.geojson import FeatureEncoder, Placement, area_feature, object_features, write_geojson
from textdiff.pipeline.exchange.importing import read_annotations
from textdiff.pipeline.exchange.objects import Objects, find_objects
from textdiff.pipeline.exchange.outlines import OutlineTracer
from textdiff.pipeline.exchange.readers.geojson import read_geojson
from textdiff.pipeline.image_files.reading import read_mask

MONUSEG = Path(__file__).resolve().parents[4] / "shared" / "data" / "monuseg"
NAMES = {1: "tumour", 2: "stroma"}
SQUARE = [[1, 1], [5, 1], [5, 5], [1, 5], [1, 1]]
HOLE = [[2, 2], [2, 3], [3, 3], [3, 2], [2, 2]]


def feature(kind, coordinates, classification=None, **more):
    properties = {"objectType": "annotation"} | ({"classification": classification} if classification else {})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties, **more}


@pytest.fixture
def read(tmp_path):
    def read(content, sizes=None, classes=None):
        (tmp_path / "a.geojson").write_text(json.dumps(content))
        return read_annotations(tmp_path / "a.geojson", sizes or {"a.png": (8, 10)}, classes)

    return read


@pytest.fixture
def objects():
    labels = np.random.default_rng(0).integers(0, 6, (9, 7)).astype(np.uint16)
    return Objects(labels, np.array([1, 2, 1, 2, 1], np.uint16))


def test_shapely_reads_the_objects_and_qupath_their_classes(tmp_path, objects):
    shapely = pytest.importorskip("shapely")
    measured = {3: {"mean probability": 0.75}}
    path = tmp_path / "a.geojson"
    write_geojson(path, object_features(objects, "a", measured), FeatureEncoder(NAMES, colours={2: (1, 2, 3)}))
    written = json.loads(path.read_text())["features"]
    y, x = np.mgrid[:9, :7] + 0.5
    assert len(written) == 5
    for number, entry in enumerate(written, start=1):
        geometry = shapely.from_geojson(json.dumps(entry["geometry"]))
        assert geometry.is_valid
        np.testing.assert_array_equal(shapely.contains_xy(geometry, x, y), objects.labels == number)
        assert geometry.area == (objects.labels == number).sum()
    assert written[1]["properties"] == {
        "objectType": "detection",
        "classification": {"name": "stroma", "color": [1, 2, 3]},
    }
    assert written[2]["properties"]["measurements"] == {"mean probability": 0.75}


def test_equal_objects_give_equal_bytes_with_ids_of_their_own(tmp_path, objects):
    for name in ("a", "b"):
        write_geojson(tmp_path / name, object_features(objects, "image"), FeatureEncoder(NAMES))
    write_geojson(tmp_path / "c", object_features(objects, "other"), FeatureEncoder(NAMES))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    ids = [entry["id"] for name in "ac" for entry in json.loads((tmp_path / name).read_text())["features"]]
    assert len({*ids}) == 10


@pytest.mark.parametrize("placement", [Placement(), Placement(1000, 250, 4, 4.5), Placement(3.5, 7.25, 0.25, 0.25)])
def test_written_objects_are_read_as_the_same_masks(tmp_path, objects, placement):
    path = tmp_path / "a.geojson"
    write_geojson(path, object_features(objects), FeatureEncoder(NAMES, placement=placement))
    read = read_geojson({"a": json.loads(path.read_text())}, ImageNames({"a.png": (9, 7)}), placement=placement)
    assert read.classes == {0: "background", 1: "stroma", 2: "tumour"}
    same = read_geojson(
        {"a": json.loads(path.read_text())}, ImageNames({"a.png": (9, 7)}), {0: "background", **NAMES}, placement
    )
    np.testing.assert_array_equal(same.draw("a.png").mask, np.array([0, 1, 2, 1, 2, 1])[objects.labels])
    np.testing.assert_array_equal(same.draw_objects("a.png").mask, objects.labels)
    assert same.colours == {1: (230, 159, 0), 2: (86, 180, 233)}


def test_a_slide_is_written_band_by_band(tmp_path):
    mask = np.random.default_rng(1).integers(0, 3, (12, 9))
    tracer = OutlineTracer(9)

    def features():
        for top in range(0, 12, 5):
            yield from (area_feature(outline, "s") for outline in tracer.add(mask[top : top + 5]))
        yield from (area_feature(outline, "s") for outline in tracer.finish())

    write_geojson(tmp_path / "s.geojson", features(), FeatureEncoder(NAMES, object_type="annotation"))
    entries = json.loads((tmp_path / "s.geojson").read_text())["features"]
    assert len({entry["id"] for entry in entries}) == len(entries) > 10
    read = read_annotations(tmp_path / "s.geojson", {"s.tif": (12, 9)}, {0: "background", **NAMES})
    np.testing.assert_array_equal(read.draw("s.tif").mask, mask)


def test_holes_and_several_polygons_are_drawn(read):
    multi = feature("MultiPolygon", [[SQUARE, HOLE], [[[7, 0], [9, 0], [9, 1], [7, 1], [7, 0]]]], {"name": "tumour"})
    mask = read({"type": "FeatureCollection", "features": [multi]}).draw("a.png").mask
    assert mask.sum() == 16 - 1 + 2
    assert mask[2, 2] == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: {"type": "FeatureCollection", "features": [one]},
        lambda one: [one],
        lambda one: one,
        lambda one: one["geometry"],
        lambda one: {"type": "GeometryCollection", "geometries": [one["geometry"]]},
        lambda one: [{"type": "FeatureCollection", "features": [one]}],
    ],
)
def test_collections_lists_single_features_and_geometries_are_read(read, wrap):
    found = read(wrap(feature("Polygon", [SQUARE, HOLE])))
    assert found.classes == {0: "background", 1: "foreground"}
    assert found.draw("a.png").mask.sum() == 15


def test_outlines_without_classes_are_of_the_one_that_is_declared(read):
    found = read([feature("Polygon", [SQUARE])], classes={0: "background", 255: "nucleus"})
    assert found.draw("a.png").mask.max() == 255
    two = read([feature("Polygon", [SQUARE])], classes={0: "background", 1: "round", 2: "long"})
    assert two.draw("a.png").remarks == (
        "a.png: 1 annotations of the class 'foreground' are left out; it is not declared",
    )


def test_properties_that_may_be_classes_are_named(read):
    one = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}, "properties": {"label": "x"}}
    assert read([one]).left_out == (
        "no outline has a `classification`, all are 'foreground'; not read: the properties 'label'",
    )


def test_classes_of_all_versions_of_qupath(read):
    found = read(
        [
            feature("Polygon", [SQUARE], {"name": "Tumor", "color": [200, 0, 0]}),
            feature("Polygon", [SQUARE], {"name": "Stroma", "colorRGB": -6895466}),
            feature("Polygon", [SQUARE], {"names": ["CD3", "CD8"]}),
        ]
    )
    assert found.classes == {0: "background", 1: "CD3: CD8", 2: "Stroma", 3: "Tumor"}
    assert found.colours == {2: (150, 200, 150), 3: (200, 0, 0)}


def test_points_lines_and_outlines_without_class_are_left_out_by_count(read):
    found = read(
        [
            feature("Polygon", [SQUARE], {"name": "Tumor"}),
            feature("Polygon", [SQUARE]),
            feature("Point", [1, 2], {"name": "Tumor"}),
            {"type": "Feature", "geometry": None, "properties": None},
        ]
    )
    assert found.left_out == (
        "a: 2 points, lines or empty outlines cover no area and are left out",
        "a: 1 outlines have no class, unlike others, and are left out",
    )
    assert found.draw("a.png").mask.sum() == 16


def test_outlines_beside_the_image_are_named(read):
    far = [[x + 1000, y] for x, y in SQUARE]
    drawn = read(feature("Polygon", [far])).draw("a.png")
    assert drawn.remarks == ("a.png: 1 annotations hold no pixel of the image's 8 x 10",)


def test_a_folder_has_a_file_for_each_image(tmp_path):
    for name in ("a.geojson", "b.svs.geojson", "c.json"):
        (tmp_path / name).write_text(json.dumps([feature("Polygon", [SQUARE], {"name": name[0]})]))
    found = read_annotations(tmp_path, {"a.png": (8, 8), "b.svs": (8, 8)})
    assert {*found.images} == {"a.png", "b.svs"}
    assert found.left_out == ("c: no image has this name",)
    assert found.classes == {0: "background", 1: "a", 2: "b", 3: "c"}


@pytest.mark.parametrize(
    "coordinates", [[], None, [[]], [[[1, 2]]], [SQUARE[:2]], [[["x", 1]] * 4], 5, [[[1e99, 0]] * 4], "abc", [5]]
)
def test_a_broken_outline_leaves_its_image_out_by_name(read, coordinates):
    found = read([feature("Polygon", coordinates, id="7")])
    assert found.images == {}
    assert found.left_out[0].startswith("a: feature 7: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a": 1}', "is of no known format"),
        ("[]", "is of no known format"),
        ('{"type": []}', "is of no known format"),
        ("1" * 10_000, "is not JSON"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path, content, reason):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=reason):
        read_annotations(tmp_path / "a.json", {"a.png": (8, 8)})


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_annotations(tmp_path / "x.json", {})
    with pytest.raises(DataError, match="holds no export"):
        read_annotations(tmp_path, {})


@pytest.mark.real_data
@pytest.mark.skipif(not MONUSEG.exists(), reason="the MoNuSeg images are not here")
def test_nuclei_survive_the_way_to_qupath_and_back(tmp_path):
    mask = read_mask(sorted((MONUSEG / "Train_Folder" / "labelcol").iterdir())[0])[:400, :400]
    classes = {0: "background", 255: "nucleus"}
    objects = find_objects(mask, classes)
    write_geojson(tmp_path / "a.geojson", object_features(objects), FeatureEncoder(classes))
    read = read_annotations(tmp_path / "a.geojson", {"a": mask.shape}, classes)
    assert len(objects.classes) > 100
    np.testing.assert_array_equal(read.draw("a").mask, mask)
    np.testing.assert_array_equal(read.draw_objects("a").mask, objects.labels)
