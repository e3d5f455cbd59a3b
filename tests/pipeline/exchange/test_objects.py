"""Objects of a mask and their table."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from textdiff.components import split_objects
from textdiff.pipeline.exchange.objects import (
    Objects,
    find_objects,
    object_table,
    write_label_image,
    write_object_table,
)
from textdiff.stages.metrics.instances import aggregated_jaccard

CLASSES = {0: "background", 3: "round", 9: 'with "quotes", commas'}


@pytest.fixture
def mask():
    """A square of 9, two touching discs of 3, and pixels that are not labelled."""
    y, x = np.mgrid[:30, :40]
    discs = ((y - 15) ** 2 + (x - 12) ** 2 < 64) | ((y - 15) ** 2 + (x - 25) ** 2 < 64)
    mask = np.where(discs, 3, 0).astype(np.uint8)
    mask[:4, :4] = 9
    mask[-1] = 255
    return mask


def test_touching_objects_are_split_and_classes_kept_apart(mask):
    objects = find_objects(mask, CLASSES)
    assert objects.classes.tolist() == [3, 3, 9]
    assert objects.labels.dtype == np.uint16
    np.testing.assert_array_equal(objects.labels > 0, (mask == 3) | (mask == 9))
    np.testing.assert_array_equal(np.where(mask == 3, objects.labels, 0), split_objects(mask == 3))
    np.testing.assert_array_equal(objects.labels, find_objects(mask, CLASSES).labels)


@pytest.mark.parametrize("seed", range(4))
def test_areas_split_in_their_own_boxes_have_the_objects_of_the_whole(seed):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((90, 110)), 2)
    mask = smooth > 0.5
    whole, found = split_objects(mask), find_objects(mask.astype(np.uint8), {0: "background", 1: "x"}).labels
    np.testing.assert_array_equal(found > 0, mask)
    assert whole.max() == found.max() > 20
    assert aggregated_jaccard(whole, found) > 0.99


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 7), (5, 5)])
def test_an_image_that_is_all_object_is_one(size):
    objects = find_objects(np.ones(size, np.uint8), {0: "background", 1: "x"})
    assert (objects.labels == 1).all()
    assert objects.classes.tolist() == [1]


def test_the_table_is_in_pixels_and_in_mm():
    labels = np.zeros((6, 8), np.uint16)
    labels[1:3, 2:6], labels[5, 0] = 1, 2
    confidence = np.linspace(0, 1, 48).reshape(6, 8)
    table = object_table(
        Objects(labels, np.array([3, 9], np.uint16)), CLASSES, confidence=confidence, pixel_mm=(0.5, 0.25)
    )
    assert table == {
        "id": [1, 2],
        "class": ["round", 'with "quotes", commas'],
        "area_px": [8, 1],
        "centroid_y_px": [1.5, 5],
        "centroid_x_px": [3.5, 0],
        "mean_probability": [round(float(confidence[1:3, 2:6].mean()), 4), round(float(confidence[5, 0]), 4)],
        "area_mm2": [1, 0.125],
        "centroid_y_mm": [0.75, 2.5],
        "centroid_x_mm": [0.875, 0],
    }


def test_the_table_of_no_objects_has_its_columns():
    table = object_table(Objects(np.zeros((3, 3), np.uint16), np.zeros(0, np.uint16)), CLASSES)
    assert table == {"id": [], "class": [], "area_px": [], "centroid_y_px": [], "centroid_x_px": []}


def test_files_hold_what_was_found(mask, tmp_path):
    objects = find_objects(mask, CLASSES)
    write_label_image(tmp_path / "a.tif", objects.labels)
    read = tifffile.imread(tmp_path / "a.tif")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, objects.labels)
    write_object_table(tmp_path / "a.csv", object_table(objects, CLASSES))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "id,class,area_px,centroid_y_px,centroid_x_px"
    assert lines[3].startswith('3,"with ""quotes"", commas",16,1.5,1.5')


def test_areas_of_two_pixels_across_are_objects_as_they_are_in_the_whole_mask():
    mask = np.zeros((9, 9), np.uint8)
    mask[1, 1:8], mask[2, 7], mask[4:6, 1:8], mask[7, 1], mask[8, 2] = 1, 1, 1, 1, 1
    assert (find_objects(mask, {0: "background", 1: "dot"}).labels == split_objects(mask == 1)).all()


@pytest.mark.slow
def test_more_than_65535_objects_have_32_bits(tmp_path):
    mask = np.zeros((514, 514), np.uint8)
    mask[::2, ::2] = 1
    objects = find_objects(mask, {0: "background", 1: "dot"})
    assert objects.labels.dtype == np.uint32
    assert objects.labels.max() == len(objects.classes) == 257**2
    write_label_image(tmp_path / "a.tif", objects.labels)
    assert tifffile.imread(tmp_path / "a.tif").dtype == np.uint32
