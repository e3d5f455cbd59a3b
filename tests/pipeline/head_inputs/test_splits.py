"""Folds hold whole groups out, spread over strata; views go with their image and are never scored."""

from collections import Counter

import pytest

from textdiff.cache.format.samples import SampleRow
from textdiff.errors import DataError
from textdiff.pipeline.head_inputs.splits import divide_into_folds


def row(number, group, stratum="", view=0):
    name = f"{group}-{number}" + (f"~{view}" if view else "")
    return SampleRow(
        name, f"{group}-{number}", group, "train", number, None, (8, 8), "i", "d", "m", "d", view, (0, 0), stratum
    )


def test_groups_stay_whole_and_views_are_learnt_from_but_not_scored():
    samples = [row(n, f"p{n // 2}", view=view) for n in range(12) for view in (0, 1)]
    folds = divide_into_folds(samples, 3, seed=0)
    held = [sample.id for fold in folds for sample in fold.val]
    assert sorted(held) == sorted(sample.id for sample in samples if sample.view == 0)
    for fold in folds:
        assert {sample.group for sample in fold.val}.isdisjoint(sample.group for sample in fold.train)
        assert len({sample.group for sample in fold.val}) == 2
        assert Counter(sample.view for sample in fold.train) == {0: 8, 1: 8}


def test_strata_are_spread_and_where_all_are_rare_they_do_not_matter():
    samples = [row(n, f"p{n}", stratum="liver" if n < 4 else "kidney") for n in range(8)]
    for seed in range(5):
        for fold in divide_into_folds(samples, 4, seed):
            assert sorted(sample.stratum for sample in fold.val) == ["kidney", "liver"]
    alone = [row(n, f"p{n}", stratum=f"organ {n}") for n in range(6)]
    assert [len(fold.val) for fold in divide_into_folds(alone, 3, 0)] == [2, 2, 2]


def test_more_folds_than_groups_are_refused():
    with pytest.raises(DataError, match="3 folds need as many labelled groups to train on; the cache has 2"):
        divide_into_folds([row(n, f"p{n % 2}") for n in range(6)], 3, 0)
