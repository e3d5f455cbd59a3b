"""Classes that a mask has and its labels lack."""

import json

import numpy as np
import pytest
from PIL import Image

from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.data.masks.lost_classes import LabelSize
from textdiff.pipeline.data.warnings import SETTINGS_FILE

CLASSES = {"classes": {"0": "background", "1": "lesion", "2": "vessel", "3": "scar"}, "ignore": 255}


@pytest.fixture
def data(lvit, write_image):
    """Masks of 64 x 64 pixels; `a` has two classes within one pixel of 8 x 8, `b` the same and more of the one."""
    (lvit / "classes.json").write_text(json.dumps(CLASSES))
    for path in lvit.glob("*/labelcol/*.png"):
        mask = np.zeros((64, 64), np.uint8)
        mask[40:60, 40:60] = 3
        if path.stem in "ab":
            mask[1:3, 1:3], mask[5, 5] = 1, 2
        if path.stem == "b":
            mask[20:40, 2:30] = 1
        write_image(path.parents[1] / "img" / path.name, seed=ord(path.stem), size=(64, 64))
        Image.fromarray(mask).save(path)
    return lvit


def lost(warnings):
    return [one for one in map(str, warnings) if one.endswith("[lost-class]")]


def test_a_class_that_loses_every_pixel_is_named_with_sample_and_pixels(data):
    """CASES row 1."""
    found = lost(check_data(data, image_size=8).warnings)
    assert len(found) == 1
    assert found[0].startswith("lesion (4 pixels of the mask) is lost where a rarer class falls into the same pixels")
    assert "8 x 8; give a larger --image-size, or cut tiles (--tile): a [lost-class]" in found[0]


@pytest.mark.parametrize("side", [32, 64, 256])
def test_nothing_is_lost_where_labels_are_large_enough(data, side):
    assert lost(check_data(data, image_size=side).warnings) == []


def test_without_a_size_nothing_is_said(data):
    assert lost(check_data(data).warnings) == []


def test_tiles_at_native_resolution_lose_nothing_and_shrunken_ones_do(data):
    assert lost(read_dataset(data, label_size=LabelSize(16, 16)).warnings) == []
    (found,) = lost(read_dataset(data, label_size=LabelSize(8, 48, 8)).warnings)
    assert "tiles of 48 pixels at 8 x 8" in found


def test_the_warning_can_be_silenced(data):
    (data / SETTINGS_FILE).write_text('{"silence": {"lost-class": "vessels alone are wanted"}}')
    report = check_data(data, image_size=8)
    assert lost(report.warnings) == []
    assert "vessels alone are wanted" in report.silenced[0]


def test_samples_count_the_pixels_of_each_class(data):
    samples = {one.id: one.n_pixels for one in read_dataset(data).samples}
    assert samples["a"] == (64 * 64 - 405, 4, 1, 400)
