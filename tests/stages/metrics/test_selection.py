import math

import pytest
import torch

from textdiff.stages.metrics.selection import choose_centres, standardised


def points(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_features_are_measured_in_standard_deviations_and_constant_ones_do_not_count():
    found = standardised(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert found.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_with_equal_weights_the_farthest_comes_first_and_each_one_taken_covers_its_neighbours():
    # From 0 it is 1, 9, 10 and 4: 10 is taken, which leaves 1, 1 and 4; then 4, which leaves 1 and 1: the first.
    order, distances = choose_centres(points(1, 9, 10, 4), torch.ones(4).double(), points(0), 3)
    assert order == [2, 3, 0]
    assert distances == [10, 4, 1]


def test_weight_and_distance_are_multiplied():
    weights = torch.tensor([0.5, 0.1, 0.2]).double()
    # 0.5 × 2 = 1.0, 0.1 × 9 = 0.9, 0.2 × 4 = 0.8; with 2 taken: 0.1 × 7 = 0.7, 0.2 × 2 = 0.4
    order, distances = choose_centres(points(2, 9, 4), weights, points(0), 3)
    assert (order, distances) == ([0, 1, 2], [2, 7, 2])
    assert choose_centres(points(2, 9, 4) * 10, weights * 3, points(0), 3)[0] == order


def test_where_nothing_is_covered_the_heaviest_is_first():
    order, distances = choose_centres(points(0, 5, 6), torch.tensor([0.1, 0.3, 0.2]).double(), points()[:0], 9)
    assert order == [1, 0, 2]
    assert distances == [math.inf, 5, 1]


def test_a_distance_is_the_root_mean_square_over_features():
    _, distances = choose_centres(torch.tensor([[3.0, 4.0]]).double(), torch.ones(1).double(), torch.zeros(1, 2), 1)
    assert distances == [pytest.approx(math.sqrt(12.5))]
