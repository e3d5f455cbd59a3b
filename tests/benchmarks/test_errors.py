"""`benchmarks/accuracy/errors.py`: which kind of mistake a wrong pixel is, worked by hand."""

import math

import numpy as np
import pytest


@pytest.fixture
def errors(benchmark_module):
    return benchmark_module("accuracy", "errors")


def square(top, left, side, size=40):
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def counts(kinds):
    return {kind: int(wrong.sum()) for kind, wrong in kinds.items()}


def test_each_wrong_pixel_is_of_one_kind(errors):
    truth = square(2, 2, 8) | square(20, 2, 12)
    predicted = square(20, 2, 12) | square(20, 30, 6)
    predicted[20, 2:14] = False  # the topmost row of the second square: an outline too far in
    predicted[25, 7] = False  # a hole, five pixels inside
    kinds = errors.kinds_of_errors(truth, predicted)
    assert counts(kinds) == {"missed": 64, "invented": 36, "boundary": 12, "inside": 1}
    assert np.array_equal(sum(wrong.astype(int) for wrong in kinds.values()), (truth ^ predicted).astype(int))


def test_an_object_of_which_a_tenth_is_found_is_not_missed(errors):
    truth, predicted = square(10, 10, 10), np.zeros((40, 40), bool)
    predicted[10, 10:19] = True
    assert counts(errors.kinds_of_errors(truth, predicted))["missed"] == 91
    predicted[10, 19] = True
    assert counts(errors.kinds_of_errors(truth, predicted))["missed"] == 0


def test_mended_dice_is_what_it_would_be_without_one_kind(errors):
    truth, predicted = square(2, 2, 8) | square(20, 20, 8), square(2, 2, 8) | square(20, 2, 8)
    found = errors.describe_errors(truth, predicted)
    assert found["dice"] == 0.5
    assert found["mended"] == {"missed": 256 / 320, "invented": 128 / 192, "boundary": 0.5, "inside": 0.5}


def test_merged_and_split_objects_are_shares_of_the_true_ones(errors):
    truth = np.zeros((10, 30), int)
    truth[:, :5], truth[:, 6:11], truth[:, 20:30] = 1, 2, 3
    predicted = np.zeros((10, 30), int)
    predicted[:, :11], predicted[:, 20:24], predicted[:, 25:30] = 1, 2, 3
    assert errors.merged_and_split(truth, predicted) == (2 / 3, 1 / 3)
    assert all(map(math.isnan, errors.merged_and_split(np.zeros((4, 4), int), predicted[:4, :4])))


def test_the_best_threshold_is_worth_what_it_adds(errors):
    truth, known = square(0, 0, 20), np.ones((40, 40), bool)
    foreground = np.where(truth, 0.42, 0.1)
    assert errors.threshold_gain(truth, foreground, known) == 1.0
    assert errors.threshold_gain(truth, np.where(truth, 0.9, 0.1), known) == 0.0
