"""The decision of `--text auto` from Dice with texts and without."""

import numpy as np
import pytest

from textdiff.pipeline.runs.text_decision import decide_on_texts, without_trial

WITHOUT = np.array([0.50, 0.55, 0.60, 0.52, 0.58, 0.54, 0.51, 0.57])
GAINS = np.array([0.10, 0.12, 0.08, 0.11, 0.09, 0.13, 0.10, 0.09])


def decided(gains, n=8, *, per_group=1):
    groups = [f"g{i // per_group}" for i in range(n)]
    return decide_on_texts(WITHOUT[:n] + gains[:n], WITHOUT[:n], groups, epoch=24)


def test_texts_that_help_in_every_group_are_used():
    decision = decided(GAINS)
    assert decision.used
    assert decision.difference == pytest.approx(GAINS.mean()) == decision.dice_with - decision.dice_without
    assert decision.p_value == 2 / 2**8
    assert 0 < decision.interval[0] < decision.difference < decision.interval[1]
    assert decision.line() == (
        "texts are used: they help on held-out groups. Dice 0.6487 with them and 0.5463 without, +0.1025 "
        "[{:+.4f}, {:+.4f}], p = 0.0078, on 8 held-out samples in 8 groups after epoch 24".format(*decision.interval)
    )


@pytest.mark.parametrize(
    ("gains", "settings", "reason"),
    [
        (GAINS, {"n": 5}, "with 5 groups the test cannot give less than"),
        (GAINS, {"n": 1}, "one group alone shows nothing"),
        (-GAINS, {}, "they do not help on held-out groups"),
        (0 * GAINS, {}, "they do not help on held-out groups"),
        (GAINS * [1, -1, 1, -1, 1, -1, 1, -1] + 0.02, {}, "the interval includes 0"),
    ],
)
def test_in_doubt_texts_are_not_used_and_the_reason_is_named(gains, settings, reason):
    decision = decided(gains, **settings)
    assert not decision.used
    assert decision.reason.startswith(reason)
    assert decision.line().startswith(f"texts are not used: {reason}")


def test_six_groups_can_be_enough():
    assert decided(GAINS, n=6).used
    assert without_trial(["a", "b", "c", "d", "e", "f", "f"]) is None


@pytest.mark.parametrize(("groups", "n"), [("abcde", "5 held-out groups"), ("aaa", "1 held-out group")])
def test_with_fewer_nothing_is_tried(groups, n):
    decision = without_trial([*groups])
    assert (decision.used, decision.epoch, decision.n_samples) == (False, 0, len(groups))
    assert decision.line() == (
        f"texts are not used: {n} cannot show that they help, which takes 6, and the simpler head is taken "
        "(--text true uses them all the same)"
    )
