"""Files of objects as `predict` writes them: band by band, whole or absent, and the same masks when they are read."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from textdiff.pipeline.exchange.importing import read_annotations
from textdiff.pipeline.exchange.object_files import AreaOutlines, object_files
from textdiff.pipeline.exchange.outputs import MaskBand, OutputTarget
from textdiff.pipeline.image_files.volumes import Volume

CLASSES = {0: "background", 1: "tumour", 200: "stroma"}


@pytest.fixture
def mask():
    values = np.random.default_rng(3).choice([0, 1, 200], (23, 17), p=[0.5, 0.3, 0.2])
    return values.astype(np.uint8)


@pytest.fixture
def target(tmp_path, mask):
    volume = Volume(tmp_path / "a b.png", "a b", (tmp_path / "a b.png",), "PNG", (0.5, 0.25))
    return OutputTarget(tmp_path, volume, mask.shape, CLASSES, mask.dtype)


def fill(writer, mask, rows=5):
    for top in range(0, len(mask), rows):
        part = mask[top : top + rows]
        likely = np.full(part.shape, 0.75, np.float32)
        writer.add(MaskBand(0, top, part, likely, np.stack([likely, likely / 3]), likely))
    return writer


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_objects_of_all_files_are_the_same(target, mask):
    written = object_files(table=True, geojson=True, coco=True)
    assert names(target.folder) == []
    fill(written.open_writer(target), mask).finish()
    assert names(target.folder) == sorted(f"a b{suffix}" for suffix in written.suffixes)
    labels = tifffile.imread(target.folder / "a b_objects.tif")
    with (target.folder / "a b_objects.csv").open(encoding="utf-8") as file:
        table = [*csv.DictReader(file)]
    assert len(table) == labels.max()
    assert {row["mean_probability"] for row in table} == {"0.75"}
    assert [float(row["area_mm2"]) for row in table] == [int(row["area_px"]) * 0.125 for row in table]
    for suffix in (".geojson", "_coco.json"):
        read = read_annotations(target.folder / f"a b{suffix}", {"a b.png": mask.shape}, CLASSES)
        assert read.left_out == ()
        np.testing.assert_array_equal(read.draw("a b.png").mask, mask)
        np.testing.assert_array_equal(read.draw_objects("a b.png").mask, labels)
    features = json.loads((target.folder / "a b.geojson").read_text())["features"]
    assert features[0]["properties"]["measurements"] == {
        "Area px^2": int(table[0]["area_px"]),
        "Area mm^2": float(table[0]["area_mm2"]),
        "Mean probability": 0.75,
    }


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_areas_are_annotations_and_the_same_bytes_from_any_bands(target, mask, rows):
    fill(AreaOutlines(target), mask, rows).finish()
    assert names(target.folder) == ["a b.geojson"]
    read = read_annotations(target.folder, {"a b.png": mask.shape}, CLASSES)
    np.testing.assert_array_equal(read.draw("a b.png").mask, mask)
    features = json.loads((target.folder / "a b.geojson").read_text())["features"]
    assert {feature["properties"]["objectType"] for feature in features} == {"annotation"}
    assert len({feature["id"] for feature in features}) == len(features)


def test_a_background_that_is_not_0_has_no_outline(target, mask):
    shifted = OutputTarget(target.folder, target.volume, target.size, {1: "background", 200: "stroma"}, mask.dtype)
    mask[mask == 0] = 1
    fill(AreaOutlines(shifted), mask).finish()
    read = read_annotations(target.folder, {"a b.png": mask.shape}, {0: "background", 200: "stroma"})
    np.testing.assert_array_equal(read.draw("a b.png").mask, np.where(mask == 200, 200, 0))
    fill(object_files(table=True).open_writer(shifted), mask).finish()
    assert (tifffile.imread(target.folder / "a b_objects.tif") > 0).sum() == (mask == 200).sum()


def test_a_writer_that_is_given_up_leaves_nothing(target, mask):
    for writer in (AreaOutlines(target), object_files(table=True).open_writer(target)):
        fill(writer, mask).discard()
        assert names(target.folder) == []


def test_a_mask_without_objects_is_written_too(target, mask):
    empty = np.zeros_like(mask)
    fill(object_files(table=True, geojson=True, coco=True).open_writer(target), empty).finish()
    for suffix in (".geojson", "_coco.json"):
        path = Path(target.folder / f"a b{suffix}")
        assert not read_annotations(path, {"a b.png": mask.shape}, CLASSES).draw("a b.png").mask.any()
    assert (target.folder / "a b_objects.csv").read_text().count("\n") == 1


def test_outlines_of_a_level_are_in_pixels_of_full_resolution(target, mask):
    level = replace(target, volume=replace(target.volume, downsampling=(4.0, 2.0)))
    found = {}
    for one in (target, level):
        fill(AreaOutlines(one), mask).finish()
        content = json.loads(one.file(".geojson").read_text(encoding="utf-8"))
        found[one is level] = [feature["geometry"]["coordinates"][0] for feature in content["features"]]
    assert found[True] == [[[2 * x, 4 * y] for x, y in ring] for ring in found[False]]


def test_areas_of_a_level_are_in_pixels_of_full_resolution(target, mask):
    level = replace(target, volume=replace(target.volume, downsampling=(4.0, 2.0)))
    areas = []
    for one in (target, level):
        fill(object_files(geojson=True).open_writer(one), mask).finish()
        features = json.loads(one.file(".geojson").read_text(encoding="utf-8"))["features"]
        areas.append([feature["properties"]["measurements"]["Area px^2"] for feature in features])
    assert areas[1] == [8 * area for area in areas[0]]


def test_objects_of_a_slide_are_refused_and_its_outlines_are_not(target):
    slide = replace(target, size=(100_000, 80_000))
    problem = object_files(table=True).size_refusal(slide.volume, slide.size)
    assert "100000 x 80000 pixels" in problem
    assert "--formats geojson without --objects" in problem
    assert object_files(table=True).size_refusal(slide.volume, (1000, 1000)) is None
    AreaOutlines(slide).discard()
