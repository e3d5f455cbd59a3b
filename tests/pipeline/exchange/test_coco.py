"""COCO: what is written, pycocotools reads; what pycocotools and other programs write, is read."""

import json
import re

import numpy as np
import pytest

from textdiff.pipeline.exchange.coco import CocoDataset
from textdiff.pipeline.exchange.importing import read_annotations
from textdiff.pipeline.exchange.objects import Objects

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]
CATEGORIES = [{"id": 1, "name": "tumour"}, {"id": 2, "name": "stroma"}]


def annotation(segmentation, image_id=1, category_id=1, **more):
    return {"id": 7, "image_id": image_id, "category_id": category_id, "segmentation": segmentation, **more}


@pytest.fixture
def read(tmp_path):
    """Annotations of a file of the given parts, for images a.png and b.png of 8 x 10 pixels."""

    def read(annotations, images=None, categories=CATEGORIES, sizes=None, classes=None):
        default = [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}]
        content = {"images": images or default, "annotations": annotations, "categories": categories}
        (tmp_path / "labels.json").write_text(json.dumps(content))
        return read_annotations(tmp_path / "labels.json", sizes or {"a.png": (8, 10), "b.png": (8, 10)}, classes)

    return read


@pytest.fixture
def objects():
    labels = np.random.default_rng(0).integers(0, 6, (9, 7)).astype(np.uint16)
    return Objects(labels, np.array([1, 2, 1, 2, 255], np.uint16))


def test_pycocotools_reads_the_objects(tmp_path, objects, capsys):
    module = pytest.importorskip("pycocotools.coco")
    dataset = CocoDataset({1: "tumour", 2: "stroma", 255: "other"})
    dataset.add("a.png", objects)
    dataset.add("b.png", objects)
    dataset.write(tmp_path / "coco.json")
    coco = module.COCO(tmp_path / "coco.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "b.png"]
    assert {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())}[255] == "other"
    for image_id in (1, 2):
        entries = coco.loadAnns(coco.getAnnIds(image_id))
        assert [entry["category_id"] for entry in entries] == objects.classes.tolist()
        for number, entry in enumerate(entries, start=1):
            np.testing.assert_array_equal(coco.annToMask(entry), objects.labels == number)
            assert entry["area"] == (objects.labels == number).sum()


def test_written_objects_are_read_as_the_same_masks(tmp_path, objects):
    dataset = CocoDataset({1: "tumour", 2: "stroma", 255: "other"})
    dataset.add("a.png", objects)
    dataset.write(tmp_path / "coco.json")
    read = read_annotations(tmp_path / "coco.json", {"images/a.png": (9, 7)})
    assert read.classes == {0: "background", 1: "tumour", 2: "stroma", 255: "other"}
    expected = np.concatenate([[0], objects.classes])[objects.labels]
    np.testing.assert_array_equal(read.draw("images/a.png").mask, expected)
    np.testing.assert_array_equal(read.draw_objects("images/a.png").mask, objects.labels)
    assert read.draw("images/a.png").mask.dtype == np.uint8


def test_polygons_runs_and_crowds_are_drawn(read):
    square = np.zeros((8, 10), bool)
    square[1:5, 1:5] = True
    counts = [9, 4, 4, 4, 4, 4, 4, 4, 43]
    for segmentation in ([SQUARE], {"size": [8, 10], "counts": counts}):
        np.testing.assert_array_equal(read([annotation(segmentation)]).draw("a.png").mask, square)
        np.testing.assert_array_equal(read([annotation(segmentation, iscrowd=1)]).draw("a.png").mask, square)


def test_polygons_agree_with_pycocotools(read):
    masks = pytest.importorskip("pycocotools.mask")
    polygon = [1.5, 1.2, 8.7, 2.1, 6.3, 7.4, 2.2, 6.8]
    mask = read([annotation([polygon])]).draw("a.png").mask
    theirs = masks.decode(masks.frPyObjects([polygon], 8, 10))[..., 0]
    assert (mask != theirs).sum() <= 4  # pycocotools rounds corners to a grid of a fifth of a pixel, and edges outwards


def test_the_smaller_region_lies_on_top_and_the_overlap_is_named(read):
    inner = annotation([[2, 2, 4, 2, 4, 4, 2, 4]], category_id=2)
    for order in ([inner, annotation([SQUARE])], [annotation([SQUARE]), inner]):
        drawn = read(order).draw("a.png")
        assert (drawn.mask == 2).sum() == 4
        assert (drawn.mask == 1).sum() == 12
        assert drawn.remarks == ("a.png: 4 pixels lie in different annotations; the smaller one is taken",)


def test_an_image_without_objects_is_background_and_says_so(read):
    drawn = read([]).draw("a.png")
    assert not drawn.mask.any()
    assert drawn.remarks == ("a.png: nothing is drawn; all is background",)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation([]), "annotation 7: has no segmentation, only a box at most"),
        (annotation([SQUARE], category_id=9), "annotation 7 is of category '9', which the file does not name"),
        (annotation([SQUARE[:5]]), "annotation 7: a polygon has 5 numbers"),
        (annotation({"size": [10, 8], "counts": "P"}), r"its runs are of \[10, 8\] pixels; the image has \[8, 10\]"),
        (annotation({"size": [8, 10], "counts": [3, 4]}), "runs are of 7 pixels, 8 x 10 are 80"),
    ],
)
def test_an_image_with_an_unusable_object_is_left_out_by_name(read, bad, reason):
    found = read([annotation([SQUARE]), bad])
    assert found.images == {}
    assert len(found.left_out) == 1
    assert re.search(reason, found.left_out[0])


def test_images_of_another_name_or_size_are_left_out_by_name(read):
    images = [{"id": 1, "file_name": "c.png"}, {"id": 2, "file_name": "a.png", "height": 80, "width": 100}]
    found = read([], images)
    assert found.images == {}
    assert found.left_out == (
        "c.png: no image has this name",
        "a.png: drawn on 80 x 100 pixels; the image has 8 x 10",
    )


def test_an_image_that_is_there_twice_is_not_guessed(read):
    found = read([], [{"id": 1, "file_name": "x/a.png"}, {"id": 2, "file_name": "y/a.png"}])
    assert found.images == {}
    assert found.left_out == ("a.png: the export has it more than once; keep one",)


def test_names_are_found_by_folders_and_without_suffix(read):
    sizes = {"train/a.png": (8, 10), "test/a.png": (8, 10), "test/u\u0308.tif": (8, 10)}
    images = [
        {"id": 1, "file_name": "C:\\data\\train\\a.png"},
        {"id": 2, "file_name": "\u00fc.jpg"},
        {"id": 3, "file_name": "a.png"},
    ]
    found = read([annotation([SQUARE])], images, sizes=sizes)
    assert {*found.images} == {"train/a.png", "test/u\u0308.tif"}
    assert found.left_out == ("a.png: fits 2 images: train/a.png, test/a.png",)


def test_an_unused_category_0_is_left_out_and_a_used_one_numbered_anew(read):
    categories = [{"id": 0, "name": "cells"}, *CATEGORIES]
    assert read([annotation([SQUARE])], categories=categories).classes == {0: "background", 1: "tumour", 2: "stroma"}
    shifted = read([annotation([SQUARE], category_id=0)], categories=categories)
    assert shifted.classes == {0: "background", 1: "cells", 2: "tumour", 3: "stroma"}
    assert shifted.draw("a.png").mask.max() == 1


def test_declared_values_are_kept_and_undeclared_classes_named(read):
    both = [annotation([SQUARE]), annotation([[6, 0, 8, 0, 8, 2, 6, 2]], category_id=2)]
    drawn = read(both, classes={0: "background", 200: "tumour"}).draw("a.png")
    assert np.unique(drawn.mask).tolist() == [0, 200]
    assert drawn.remarks == ("a.png: 1 annotations of the class 'stroma' are left out; it is not declared",)


def test_a_background_that_is_not_0_fills_what_nobody_drew_on(read):
    mask = read([annotation([SQUARE])], classes={3: "nothing", 4: "tumour"}).draw("a.png").mask
    assert np.unique(mask, return_counts=True)[1].tolist() == [64, 16]
    assert mask[0, 0] == 3
