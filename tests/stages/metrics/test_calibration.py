import math

import pytest
import torch

from textdiff.stages.metrics.calibration import (
    N_BINS,
    N_LEVELS,
    confusion_by_uncertainty,
    expected_calibration_error,
    reliability,
    without_uncertain,
)
from textdiff.stages.metrics.overlap import confusion
from textdiff.stages.metrics.uncertainty import predictive_entropy

IGNORE = 255


def binary(*foreground):
    p = torch.tensor(foreground, dtype=torch.float32)
    return torch.stack([1 - p, p])


def by_entropy(p, truth, ignore):
    return confusion_by_uncertainty(p, predictive_entropy(p), truth, ignore)


def labels(*values):
    return torch.tensor(values, dtype=torch.uint8)


def test_calibration_error_by_hand():
    # Two pixels at 0.9, one of them right; one at 0.63, right; one is not labelled.
    bins = reliability(binary(0.9, 0.1, 0.63, 0.5), labels(1, 1, 1, IGNORE), IGNORE)
    assert bins[13].tolist() == pytest.approx([2, 1, 1.8])
    assert bins[9].tolist() == pytest.approx([1, 1, 0.63])
    assert bins[:, 0].sum() == 3
    assert expected_calibration_error(bins) == pytest.approx((0.8 + 0.37) / 3)


def test_certainty_is_in_the_last_bin_and_a_bin_has_its_upper_end():
    bins = reliability(torch.tensor([[1.0, 0.6], [0.0, 0.4]], dtype=torch.float64), labels(0, 0), IGNORE)
    assert bins[:, 0].nonzero().flatten().tolist() == [8, N_BINS - 1]  # 0.6 is 9 / 15


def test_a_calibrated_head_has_almost_no_error_and_one_that_is_too_sure_has_its_excess():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(200_000, generator=generator, dtype=torch.float64)
    truth = (torch.rand(200_000, generator=generator) < p).byte()
    assert expected_calibration_error(reliability(torch.stack([1 - p, p]), truth, IGNORE)) < 0.01
    sure = torch.stack([1 - p, p]).round()  # right in 3 of 4 cases
    assert expected_calibration_error(reliability(sure, truth, IGNORE)) == pytest.approx(0.25, abs=0.01)


def test_without_pixels_there_is_no_error():
    assert math.isnan(expected_calibration_error(reliability(binary(0.5), labels(IGNORE), IGNORE)))


def test_counts_by_entropy_add_up_to_the_confusion_counts():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(3, 20, 30, generator=generator).softmax(0)
    truth = torch.randint(0, 3, (20, 30), generator=generator).byte()
    truth[:4] = IGNORE
    counted = by_entropy(p, truth, IGNORE)
    assert torch.equal(counted.sum(0), confusion(p.argmax(0), truth, 3, IGNORE))
    halves = [by_entropy(p[:, rows], truth[rows], IGNORE) for rows in (slice(9), slice(9, None))]
    assert torch.equal(counted, sum(halves))


def test_levels_run_from_certain_to_even():
    counted = by_entropy(binary(1.0, 0.0, 0.5), labels(1, 1, 0), IGNORE)
    assert counted[0].tolist() == [[0, 0], [1, 1]]
    assert counted[N_LEVELS - 1].sum() == 1


def test_the_most_uncertain_pixels_go_first():
    # From certain to uncertain: right, right, wrong, wrong.
    counted = by_entropy(binary(0.99, 0.9, 0.3, 0.55), labels(1, 1, 1, 0), IGNORE)
    assert without_uncertain(counted, 0.0).tolist() == [[0, 1], [1, 2]]
    assert without_uncertain(counted, 0.25).tolist() == [[0, 0], [1, 2]]
    assert without_uncertain(counted, 0.5).tolist() == [[0, 0], [0, 2]]


def test_pixels_that_are_equally_uncertain_go_in_proportion():
    counted = by_entropy(binary(0.8, 0.8, 0.8, 0.2), labels(1, 1, 0, 0), IGNORE)
    assert without_uncertain(counted, 0.5).flatten().tolist() == pytest.approx([0.5, 0.5, 0, 1])
