"""Masks as class indices: mask values and class indices are told apart, or refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import textdiff as td
from textdiff.pipeline.interface.masks import MaskReading
from textdiff.pipeline.prediction.result import Prediction

BINARY, GLANDS = {0: "background", 255: "nucleus"}, {0: "nothing", 2: "gland", 10: "vessel"}


def predicted(values, classes):
    """A prediction of these mask values."""
    values = np.array([values], np.uint8)
    probabilities = np.stack([values == value for value in classes]).astype(np.float32)
    return Prediction(values, probabilities, np.zeros(values.shape, np.float32), classes, request=None)


def read(mask, *beside, classes=None):
    """Labels of a mask that is drawn with others."""
    mask = np.array([mask]) if isinstance(mask, list) else mask
    return MaskReading.of([mask, *beside], None, classes).labels(mask)[0].tolist()


@pytest.fixture
def sample(tiny_cache):
    return td.open_cache(tiny_cache)["train0"]


@pytest.fixture
def gland_sample(with_classes):
    return with_classes({str(value): name for value, name in GLANDS.items()}, (2, 10), ignore=7)["train0"]


@pytest.mark.parametrize(
    ("mask", "labels"),
    [
        ([0, 1], [0, 1]),
        ([0, 255], [0, 1]),
        ([7, 0], [1, 0]),
        ([True, False], [1, 0]),
        ([0, 0], [0, 0]),
        ([3, 3], [1, 1]),
        ([0, 1, 255], [0, 1, 2]),
        ([0, 9, 7], [0, 2, 1]),
    ],
)
def test_without_classes_each_value_is_one_and_a_single_one_the_foreground(mask, labels):
    assert read(mask) == labels


def test_1_and_255_are_one_foreground_where_no_mask_has_both():
    ones, bytes_ = np.array([[0, 1]]), np.array([[255, 0]])
    reading = MaskReading.of([ones, bytes_], None, None)
    assert reading.names == ["foreground"]
    assert (reading.labels(ones).tolist(), reading.labels(bytes_).tolist()) == ([[0, 1]], [[1, 0]])
    assert MaskReading.of([ones, 2 * ones], None, None).names == ["class 1", "class 2"]
    assert MaskReading.of([ones, np.array([[0, 1, 255]])], None, None).names == ["class 1", "class 255"]


def test_of_two_named_classes_one_other_value_is_the_foreground():
    assert read([0, 1], classes=BINARY) == read([False, True], classes=BINARY) == [0, 1]
    assert read([True, True], classes={1: "background", 2: "nucleus"}) == [1, 1]
    with pytest.raises(td.errors.DataError, match=r"has the values 1; expected .* 0 background, 255 nucleus"):
        read([0, 1, 255], classes=BINARY)
    with pytest.raises(td.errors.DataError, match=r"has the values 1, 3; expected .* 0 nothing, 2 gland, 10 vessel"):
        read([0, 1, 3, 10], classes=GLANDS)


def test_beside_a_sample_255_is_not_labelled(sample):
    assert read([0, 1, 255], sample) == [0, 1, 255]
    assert read([0, 1], sample) == read([False, True], sample) == [0, 1]
    with pytest.raises(td.errors.DataError, match=r"0, 255, which may be .* indices \(255: not labelled\)"):
        read([0, 255], sample)
    with pytest.raises(td.errors.DataError, match="has the values 7; expected"):
        read([0, 1, 7], sample)
    named = sample.reader.manifest.classes["classes"]
    assert [*named] == ["0", "1"] or [*named] == ["0", "255"]
    assert read([0, 255], sample, classes=BINARY) == [0, 1]
    assert read([0, 1, 255], sample, classes={0: "b", 1: "f"}) == [0, 1, 255]


def test_files_have_mask_values(sample, gland_sample, tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 255, 255]], np.uint8)).save(path)
    assert read(path, sample) == read(path) == read(path, sample, classes={0: "b", 1: "f"}) == [0, 1, 1]
    Image.fromarray(np.array([[0, 2, 7]], np.uint8)).save(path)
    assert read(path, gland_sample) == [0, 1, 255]


def test_mask_values_and_class_indices_of_several_classes_are_told_apart(gland_sample):
    prediction = predicted([0, 2, 10], GLANDS)
    for beside in ([gland_sample], [prediction], [prediction, gland_sample]):
        assert read(prediction.mask, *beside) == read(prediction.labels, *beside) == [0, 1, 2]
        assert read([0, 10], *beside) == [0, 2]
        assert read([0, 1], *beside) == [0, 1]
        with pytest.raises(td.errors.DataError, match="0, 2, which may be mask values or class indices"):
            read([0, 2], *beside)
        with pytest.raises(td.errors.DataError, match=r"has the values 1, 10; expected .* 2 gland"):
            read([1, 10], *beside)
        assert read([0, 2], *beside, classes=GLANDS) == [0, 1]
        assert read([0, 2], *beside, classes=dict(enumerate(GLANDS.values()))) == [0, 2]
    assert read([0, 1, 255], gland_sample) == [0, 1, 255]
    assert read([0, 10, 7], gland_sample) == [0, 2, 255]
    with pytest.raises(td.errors.DataError, match="has the values 255; expected"):
        read([0, 1, 255], prediction)


def test_masks_of_other_classes_are_refused(sample, gland_sample):
    prediction = predicted([0, 2, 10], {0: "nothing", 2: "vessel", 10: "gland"})
    with pytest.raises(td.errors.DataError, match="the classes differ: gland, vessel; vessel, gland"):
        read(prediction, gland_sample)
    with pytest.raises(td.errors.DataError, match="the classes differ"):
        read(prediction, sample)
    assert read(prediction, gland_sample, classes=GLANDS) == [0, 1, 2]
    with pytest.raises(td.errors.DataError, match="has the classes nothing, vessel, gland; `classes` names 2 of them"):
        read(prediction, classes=BINARY)
    other_name = predicted([0, 255], {0: "none", 255: "cell"})
    assert read(other_name, sample) == [0, 1]


def test_samples_keep_their_labels(gland_sample):
    labels = gland_sample.labels
    assert {*np.unique(labels).tolist()} == {0, 1, 2}
    reading = MaskReading.of([gland_sample], None, None)
    np.testing.assert_array_equal(reading.labels(gland_sample), labels)
    np.testing.assert_array_equal(reading.labels(labels), labels)
    unlabelled = type(gland_sample)(gland_sample.reader, replace(gland_sample.row, mask=None))
    with pytest.raises(td.errors.DataError, match="train0 has no mask"):
        reading.labels(unlabelled)


def test_coloured_classes_have_the_values_of_predicted_masks(with_classes):
    sample = with_classes({"#ff0000": "vessel", "#000000": "background"}, ((255, 0, 0), (255, 0, 0)), "#ffffff")["val0"]
    reading = MaskReading.of([sample], None, None)
    assert reading.classes == {0: "background", 1: "vessel"}
    assert read([0, 1, 255], sample) == [0, 1, 255]
