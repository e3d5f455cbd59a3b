"""Masks drawn beside the manifest from what annotation tools write."""

import json

import numpy as np
import pytest
from PIL import Image

from textdiff.errors import DataError


@pytest.fixture
def coco(tmp_path, copy_of):
    """Three images, and an export of COCO with one square of a class in each of the first two."""
    images = copy_of(tmp_path / "images", *(f"{i}.png" for i in range(3)))
    square = {"iscrowd": 0, "area": 16, "bbox": [2, 2, 4, 4], "segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]]}
    export = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 8} for i in range(4)],
        "categories": [{"id": 7, "name": "gland"}, {"id": 9, "name": "tumour"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 7, **square},
            {"id": 2, "image_id": 1, "category_id": 9, **square},
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(export))
    return images, path


def test_coco_becomes_masks_and_classes(coco, make, out):
    images, export = coco
    made = make(images, masks=export)
    classes = json.loads((out.parent / "classes.json").read_text())["classes"]
    values = {name: int(value) for value, name in classes.items()}
    for name, label in (("0", "gland"), ("1", "tumour")):
        mask = np.asarray(Image.open(out.parent / "masks" / f"{name}.png"))
        assert made.rows[name]["mask"] == f"masks/{name}.png"
        assert np.argwhere(mask == values[label]).tolist() == [[y, x] for y in range(2, 6) for x in range(2, 6)]
        assert {*np.unique(mask)} == {0, values[label]}
    assert any("3.png: no image has this name" in line for line in made.summary.drawn)
    assert made.summary.layout == "images and annotations"


def test_values_as_classes_json_declares_them(coco, make, out):
    images, export = coco
    declared = {"classes": {"0": "background", "40": "gland", "50": "tumour"}}
    (images / "classes.json").write_text(json.dumps(declared))
    make(images, masks=export)
    assert {*np.unique(np.asarray(Image.open(out.parent / "masks" / "1.png")))} == {0, 50}


def test_a_mask_of_another_program_in_the_way_is_kept(coco, make, out):
    images, export = coco
    (out.parent / "masks").mkdir(parents=True)
    (out.parent / "masks" / "1.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"masks/1.png exists and is another file; move it"):
        make(images, masks=export)
    assert (out.parent / "masks" / "1.png").read_bytes() == b"mine"
    assert not out.exists()


def test_geojson_for_each_image_in_a_folder(tmp_path, copy_of, make, out):
    images = copy_of(tmp_path / "images", *(f"{i}.png" for i in range(3)))
    (tmp_path / "export").mkdir()
    for i in range(3):
        ring = [[1, 1], [5, 1], [5, 4], [1, 4], [1, 1]]
        feature = {
            "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": "Tumour"}},
        }  # fmt: skip
        content = {"type": "FeatureCollection", "features": [feature]}
        (tmp_path / "export" / f"{i}.geojson").write_text(json.dumps(content))
    made = make(images, masks=tmp_path / "export")
    assert made.masks == {f"{i}": f"{i}.png" for i in range(3)}
    assert np.asarray(Image.open(out.parent / "masks" / "2.png")).sum() == 12


def test_a_folder_of_masks_with_classes_is_no_export(tmp_path, copy_of, make, out):
    copy_of(tmp_path, *(f"images/{i}.png" for i in range(3)), *(f"=masks/{i}.png" for i in range(3)))
    (tmp_path / "masks" / "classes.json").write_text('{"classes": {"0": "background", "255": "gland"}}')
    made = make(tmp_path / "images", masks=tmp_path / "masks")
    assert all(made.masks.values())
    assert '"gland"' in (out.parent / "classes.json").read_text()


def test_cvats_boxes_and_an_export_of_nothing_known(tmp_path, copy_of, make, out):
    images = copy_of(tmp_path / "images", *(f"{i}.png" for i in range(3)))
    polygon = '<polygon label="gland" occluded="0" points="2,2;6,2;6,6;2,6" z_order="0"></polygon>'
    pages = "".join(f'<image id="{i}" name="{i}.png" width="8" height="8">{polygon}</image>' for i in range(3))
    (tmp_path / "annotations.xml").write_text(
        f"<?xml version='1.0'?><annotations><version>1.1</version>{pages}</annotations>"
    )
    made = make(images, masks=tmp_path / "annotations.xml")
    assert np.count_nonzero(np.asarray(Image.open(out.parent / made.rows["1"]["mask"]))) == 16
    (tmp_path / "other.json").write_text("[1, 2]")
    out.unlink()
    with pytest.raises(DataError, match=r"other\.json"):
        make(images, masks=tmp_path / "other.json")


def test_masks_among_the_images_are_named_where_an_export_is_given(coco, make, save):
    images, export = coco
    save(images / "masks" / "0.png")
    made = make(images, masks=export)
    assert made.summary.unmatched.files_not_used == [
        f"{images / 'masks' / '0.png'} (a mask, and --masks is instances.json)"
    ]
