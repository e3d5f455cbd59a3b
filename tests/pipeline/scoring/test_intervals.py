import itertools

import numpy as np
import pytest
from scipy import stats

from textdiff.pipeline.scoring import intervals
from textdiff.pipeline.scoring.intervals import (
    bootstrap_intervals,
    mean_intervals,
    sign_flip_test,
    sum_by_group,
)


def names(n_groups):
    return [f"g{i:03}" for i in range(n_groups)]


def values(n, seed=0):
    return np.random.default_rng(seed).normal(0.7, 0.1, (n, 1))


def test_equal_values_leave_no_doubt():
    assert mean_intervals(np.full((6, 1), 0.4), names(6)) == [(pytest.approx(0.4), pytest.approx(0.4))]


def test_the_interval_is_as_wide_as_students_where_the_mean_is_normal():
    sample = values(12)[:, 0]
    ((low, high),) = mean_intervals(sample[:, None], names(12))
    student = stats.t.interval(0.95, 11, sample.mean(), stats.sem(sample))
    assert high - low == pytest.approx(student[1] - student[0], rel=0.1)
    assert (low, high) == pytest.approx(student, abs=0.01)


def test_it_holds_the_true_mean_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(intervals, "N_DRAWS", 500)
    ends = [mean_intervals(values(8, seed), names(8), seed)[0] for seed in range(300)]
    # The plain percentiles hold it in 0.88 of the cases.
    assert 0.91 <= np.mean([low <= 0.7 <= high for low, high in ends]) <= 0.98


def test_more_samples_of_the_same_groups_tell_nothing_more():
    once, groups = values(7), names(7)
    assert mean_intervals(once.repeat(5, 0), [name for name in groups for _ in range(5)]) == [
        pytest.approx(interval) for interval in mean_intervals(once, groups)
    ]


def test_groups_weigh_as_many_samples_as_they_have():
    drawn = np.array([[2, 0], [1, 1], [0, 2]])
    by_group = sum_by_group(np.array([1.0, 4.0, 1.0]), ["a", "b", "a"])
    assert by_group.tolist() == [2.0, 4.0]
    assert (drawn @ by_group / (drawn @ np.array([2, 1]))).tolist() == [1.0, 2.0, 4.0]


def test_figures_that_samples_lack_are_left_out():
    with_gaps = np.array([[0.2], [np.nan], [0.4], [np.nan], [0.3]])
    ((low, high),) = mean_intervals(with_gaps, names(5))
    assert 0.2 - 1e-9 <= low < high <= 0.4 + 1e-9
    assert mean_intervals(np.full((5, 1), np.nan), names(5)) == [None]


def test_one_group_has_no_interval():
    assert mean_intervals(values(3), ["g"] * 3) == [None]


def test_every_draw_has_as_many_groups_as_there_are():
    seen = []

    def first(drawn):
        seen.append(drawn)
        return drawn[:, :1].astype(float)

    bootstrap_intervals(first, 10)
    assert np.concatenate(seen).shape == (10_000, 10)
    assert (np.concatenate(seen).sum(1) == 10).all()


def test_intervals_of_many_groups_come_in_batches_and_agree_with_one_draw_by_numpy():
    sample = values(400)[:, 0]
    means = sample[np.random.default_rng(0).integers(0, 400, (10_000, 400))].mean(1)
    expected = np.quantile(means, stats.norm.cdf([z := stats.t.ppf(0.025, 399) * (400 / 399) ** 0.5, -z]))
    assert mean_intervals(sample[:, None], names(400)) == [pytest.approx(tuple(expected), abs=1e-12)]


def test_draws_follow_the_seed():
    sample = values(9)
    assert mean_intervals(sample, names(9)) == mean_intervals(sample, names(9))
    assert mean_intervals(sample, names(9)) != mean_intervals(sample, names(9), seed=1)


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ((1, 2, 3), 2 / 8),
        ((1, 1, -1), 1.0),
        ((0, 0), 1.0),
        ((5,), 1.0),
        ((0.1, 0.2, 0.3, -0.1), 6 / 16),
        ((0.1, 0.2, -0.3), 1.0),  # 5.6e-17 in floats
    ],
)
def test_sign_flips_by_hand(differences, p_value):
    test = sign_flip_test(np.array(differences))
    assert (test.p_value, test.n_flips, test.exact) == (p_value, 2 ** len(differences), True)


@pytest.mark.parametrize("n_groups", [2, 6, 11])
def test_sign_flips_agree_with_all_flips_counted(n_groups):
    differences = np.random.default_rng(n_groups).normal(0.3, 1, n_groups)
    flips = np.array([*itertools.product((-1, 1), repeat=n_groups)]) @ differences
    expected = np.mean(np.abs(flips) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_test(differences).p_value == expected


def test_random_flips_come_near_all_flips(monkeypatch):
    differences = np.random.default_rng(1).normal(0.5, 1, 17)
    random = sign_flip_test(differences)
    assert (random.exact, random.n_flips) == (False, 100_001)
    assert random == sign_flip_test(differences) != sign_flip_test(differences, seed=1)
    monkeypatch.setattr(intervals, "MAX_EXACT_FLIPS", 2**17)
    assert random.p_value == pytest.approx(sign_flip_test(differences).p_value, abs=0.005)


def test_sixteen_groups_are_flipped_in_every_way_and_seventeen_at_random():
    assert sign_flip_test(np.ones(16)).p_value == 2 / 2**16
    test = sign_flip_test(np.ones(17))
    assert not test.exact
    assert 2 / 100_001 <= test.p_value <= 20 / 100_001


def test_the_test_says_how_low_it_could_go():
    assert sign_flip_test(np.ones(5)).least_p_value == sign_flip_test(np.ones(5)).p_value == 2 / 32
