"""Corrected p values, by hand, and doubts in words."""

from dataclasses import replace

import numpy as np
import pytest

from textdiff.pipeline.scoring.paired import holm, paired_difference


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_is_doubted_until_interval_and_corrected_test_agree():
    groups = [f"patient {i}" for i in range(8)]
    clear = paired_difference(np.linspace(0.05, 0.06, 8), groups)
    assert (clear.difference, clear.test.p_value, clear.n_groups) == (pytest.approx(0.055), 2 / 256, 8)
    assert clear.doubt == ""
    one_of_ten = replace(clear, p_value=0.078, n_comparisons=10)
    assert one_of_ten.doubt == "with 8 groups and 10 comparisons the test cannot give less than p = 0.078"
    assert paired_difference(np.array([0.1, -0.1]), groups[:2]).doubt == "the interval includes 0"
    assert paired_difference(np.array([0.1, 0.2]), ["a", "a"]).doubt.startswith("one group alone shows nothing")
