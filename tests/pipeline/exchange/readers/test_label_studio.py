"""Label Studio's exports: brushes, outlines in percent, masks; annotators are not mixed."""

import json

import numpy as np
import pytest
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.exchange.importing import read_annotations
from textdiff.pipeline.exchange.readers.brushes import unpack_brush

SIZE = (8, 10)


def pack_brush(values, rng, sizes=(3, 4, 8, 16)):
    """Values as bit-packed run lengths, cut at random into runs and stretches of single values."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    while at < len(values):
        equal = 1
        while at + equal < len(values) and values[at + equal] == values[at]:
            equal += 1
        which = int(rng.integers(4))
        most = min(2 ** sizes[which], len(values) - at)
        if rng.random() < 0.7:
            n = min(equal, most)
            bits += f"1{which:02b}{n - 1:0{sizes[which]}b}{int(values[at]):08b}"
        else:
            n = int(rng.integers(1, min(most, 20) + 1))
            bits += f"0{which:02b}{n - 1:0{sizes[which]}b}" + "".join(f"{int(v):08b}" for v in values[at : at + n])
        at += n
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def result(kind, label, **value):
    value = value | ({f"{kind}labels": [label]} if label else {})
    return {
        "id": "r1", "type": f"{kind}labels", "value": value, "original_width": 10, "original_height": 8,
        "image_rotation": 0, "from_name": "tag", "to_name": "image",
    }  # fmt: skip


def task(*results, number=1, image="/data/upload/3/0a1b2c3d-a.png", annotations=None):
    done = [{"id": 5, "completed_by": 1, "was_cancelled": False, "result": [*results]}]
    return {"id": number, "data": {"image": image}, "annotations": done if annotations is None else annotations}


@pytest.fixture
def read(tmp_path):
    def read(*tasks, sizes=None):
        (tmp_path / "export.json").write_text(json.dumps(tasks))
        return read_annotations(tmp_path / "export.json", sizes or {"a.png": SIZE, "b.png": SIZE})

    return read


@pytest.mark.parametrize("seed", range(5))
def test_a_brush_is_drawn_where_its_alpha_is_not_0(read, seed):
    rng = np.random.default_rng(seed)
    alpha = (rng.random(SIZE) < 0.4) * rng.integers(1, 256, SIZE)
    rgba = np.stack([*np.full((3, *SIZE), 7), alpha], -1)
    brush = result("brush", "Lesion", format="rle", rle=pack_brush(rgba.ravel(), rng))
    found = read(task(brush))
    assert found.classes == {0: "background", 1: "Lesion"}
    np.testing.assert_array_equal(found.draw("a.png").mask, alpha > 0)


def test_outlines_are_in_percent_of_the_image(read):
    points = [[10, 12.5], [50, 12.5], [50, 62.5], [10, 62.5]]
    same = {
        "polygon": {"points": points},
        "rectangle": {"x": 10, "y": 12.5, "width": 40, "height": 50, "rotation": 0},
    }
    expected = np.zeros(SIZE, bool)
    expected[1:5, 1:5] = True
    for kind, value in same.items():
        np.testing.assert_array_equal(read(task(result(kind, "x", **value))).draw("a.png").mask, expected)
    turned = result("rectangle", "x", x=50, y=12.5, width=40, height=50, rotation=90)
    np.testing.assert_array_equal(read(task(turned)).draw("a.png").mask, expected)
    ellipse = result("ellipse", "x", x=50, y=50, radiusX=20, radiusY=25, rotation=0)
    assert read(task(ellipse)).draw("a.png").mask.sum() == pytest.approx(np.pi * 4, abs=1)


def test_labels_on_shapes_of_another_tag_count(read):
    value = {"points": [[10, 12.5], [50, 12.5], [50, 62.5]], "labels": ["x"]}
    bare = result("polygon", None, points=value["points"]) | {"type": "polygon"}
    labels = bare | {"type": "labels", "value": value}
    found = read(task(bare, labels))
    assert found.classes == {0: "background", 1: "x"}
    assert found.left_out == ()
    assert found.draw("a.png").mask.any()


def test_annotators_are_never_mixed(read):
    two = [{"completed_by": {"email": "a@x.org"}, "result": []}, {"completed_by": 2, "result": []}]
    skipped = [{"was_cancelled": True, "result": []}]
    found = read(task(annotations=two), task(number=2, image="b.png", annotations=skipped))
    assert found.images == {}
    assert found.left_out == (
        "/data/upload/3/a.png: task 1 has 2 annotations, by a@x.org, 2; keep one in the export",
        "b.png: task 2 has no annotation, or only skipped ones",
    )


def test_an_image_with_areas_that_are_not_read_is_left_out(read):
    found = read(task(result("bitmask", "x", imageDataURL="data:image/png;base64,")))
    assert found.images == {}
    assert "areas of the kind 'bitmasklabels' are not read" in found.left_out[0]


def test_other_kinds_and_areas_without_label_are_named(read):
    square = {"points": [[10, 12.5], [50, 12.5], [50, 62.5]]}
    found = read(
        task(result("polygon", "x", **square), result("keypoint", "x"), result("ellipse", None) | {"id": "r2"})
    )
    assert found.left_out == (
        "/data/upload/3/a.png: 1 results of the kind 'keypointlabels' are left out",
        "/data/upload/3/a.png: 1 areas have no label and are left out",
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/upload/1/0a1b2c3d-a.png", "a.png"),
        ("/data/upload/1/0a1b2c3d-a.png", "0a1b2c3d-a.png"),
        ("/data/local-files/?d=folder%2Fa.png", "folder/a.png"),
        ("https://bucket.s3.amazonaws.com/x/%C3%BC%20(1).png?X-Amz-Date=2026", "ü (1).png"),
        ("s3://bucket/a.png", "a.png"),
        ("http://[broken/a.png", "a.png"),
    ],
)
def test_images_are_found_behind_their_addresses(read, url, name):
    assert {*read(task(image=url), sizes={name: SIZE}).images} == {name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"original_width": 20}, "drawn on 8 x 20 pixels; the image has 8 x 10"),
        ({"image_rotation": 90}, "was turned by 90 degrees"),
        ({"value": {"brushlabels": ["x"], "format": "png"}}, "has the format 'png'"),
        ({"value": {"brushlabels": ["x"], "format": "rle", "rle": [0, 0, 1, 64, 58]}}, "ends too early"),
        ({"value": {"brushlabels": ["x"], "format": "rle", "rle": [255] * 20}}, "4294967295 values of 32 bits"),
        ({"value": {"brushlabels": ["x"], "format": "rle", "rle": [300]}}, "not of bytes"),
        ({"original_height": None}, "original_height is 'None', not a number"),
    ],
)
def test_a_broken_result_leaves_its_image_out_by_name(read, change, reason):
    found = read(task(result("brush", "x", format="rle", rle=[]) | change))
    assert found.images == {}
    assert "result r1: " in found.left_out[0]
    assert reason in found.left_out[0]


def test_a_brush_of_more_values_than_declared_is_refused():
    header = f"{4:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits = header + "100111" + "11111111"
    bits += "0" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    with pytest.raises(DataError, match="more values than it declares"):
        unpack_brush(packed, 4)


@pytest.fixture
def masks(tmp_path):
    """Files as the export as PNG has them, of tasks 1 and 2."""
    for number, label in ((1, "Lesion"), (2, "non-lesion")):
        pixels = np.zeros(SIZE, np.uint8)
        pixels[number, 2:5] = 255
        Image.fromarray(pixels).save(tmp_path / f"task-{number}-annotation-7-by-me@x.org-tag-{label}-0.png")
    np.save(tmp_path / "task-2-annotation-7-by-me@x.org-tag-Lesion-0.npy", np.eye(8, 10, dtype=np.uint8))
    return tmp_path


def test_exported_masks_belong_to_tasks(masks):
    found = read_annotations(masks, {"task-1.png": SIZE, "task-2.png": SIZE})
    assert found.classes == {0: "background", 1: "Lesion", 2: "non-lesion"}
    assert np.argwhere(found.draw("task-1.png").mask == 1).tolist() == [[1, 2], [1, 3], [1, 4]]
    drawn = found.draw("task-2.png")
    assert (drawn.mask == 1).sum() == 7
    assert (drawn.mask == 2).sum() == 3


def test_the_export_as_json_beside_masks_names_their_images(masks):
    tasks = [task(number=1), task(number=2, image="b.png")]
    (masks / "export.json").write_text(json.dumps(tasks))
    assert {*read_annotations(masks, {"a.png": SIZE, "b.png": SIZE}).images} == {"a.png", "b.png"}


def test_masks_of_two_annotations_or_another_size_are_not_used(masks):
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(masks / "task-1-annotation-8-by-2-tag-Lesion-0.png")
    found = read_annotations(masks, {"task-1.png": SIZE, "task-2.png": (9, 9)})
    assert found.left_out == ("task-1: has 2 annotations; keep the files of one",)
    with pytest.raises(DataError, match="has 8 x 10 pixels"):
        found.draw("task-2.png")


def test_a_numpy_file_of_objects_is_not_unpickled(masks):
    np.save(masks / "task-3-annotation-1-by-1-tag-x-0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="is truncated or broken"):
        read_annotations(masks, {"task-3.png": SIZE}).draw("task-3.png")
