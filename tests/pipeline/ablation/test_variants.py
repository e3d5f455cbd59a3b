"""Grids of subsets, against hand-worked lists."""

from textdiff.pipeline.ablation.variants import forward, subsets_of

ITEMS = (5, 50, 150)


def test_grids_hold_what_they_say():
    assert subsets_of(None, ITEMS) == [(5,), (50,), (150,), ITEMS]
    assert subsets_of(None, (5,)) == [(5,)]
    assert subsets_of("singles", ITEMS) == [(5,), (50,), (150,)]
    assert subsets_of("pairs", ITEMS) == [(5, 50), (5, 150), (50, 150)]
    assert subsets_of("leave-one-out", ITEMS) == [(50, 150), (5, 150), (5, 50), ITEMS]


def test_forward_selection_adds_what_helps_most_and_goes_on_to_the_end():
    means = {(5,): 0.5, (50,): 0.7, (150,): 0.6}
    assert forward(ITEMS, {}) == ([], [(5,), (50,), (150,)])
    assert forward(ITEMS, means) == ([(50,)], [(5, 50), (50, 150)])
    means |= {(5, 50): 0.65, (50, 150): 0.6}  # neither helps; it goes on all the same
    assert forward(ITEMS, means) == ([(50,), (5, 50)], [ITEMS])
    assert forward(ITEMS, means | {ITEMS: 0.8}) == ([(50,), (5, 50), ITEMS], [])
    assert forward(ITEMS, {(5,): 0.5, (50,): 0.7}) == ([], [(5,), (50,), (150,)])
