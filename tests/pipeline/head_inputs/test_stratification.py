"""Draws of groups that are spread over strata: by the data's own word, or by what the labels hold."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from textdiff.cache.format.samples import SampleRow
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.splits import choose_split
from textdiff.pipeline.head_inputs.stratification import order_groups, strata_of

SIZES = {"a": 6, "b": 3, "c": 1}
STRATA = {f"{name}{place}": (name,) for name, n in SIZES.items() for place in range(n)}


class Labels:
    """As much of a reader as strata need."""

    def __init__(self, labels, n_classes):
        self._labels = [np.array([row], np.uint8) for row in labels]
        self.manifest = type("", (), {"classes": {"classes": dict.fromkeys(range(n_classes))}})
        self.table = type("", (), {"ignore": 255})

    def labels(self, row):
        return self._labels[row]


def rows_of(groups, strata=None):
    about = ("train", 0, None, (4, 4), "", "", None, None)
    rows = [SampleRow(str(place), str(place), group, *about) for place, group in enumerate(groups)]
    return [replace(row, row=place, stratum=strata[place] if strata else "") for place, row in enumerate(rows)]


@pytest.mark.parametrize("seed", range(5))
def test_one_of_each_stratum_comes_first_and_then_their_shares(seed):
    order = order_groups(STRATA, seed, cover=True)
    assert sorted(order) == sorted(STRATA)
    names = [group[0] for group in order]
    # The largest first; then a at 1.5/6, 2.5/6, ... of the order and b at 1.5/3 and 2.5/3.
    assert "".join(names) == "abc" + "aabaaba"


def test_seeds_draw_other_groups_of_the_same_strata():
    orders = [order_groups(STRATA, seed, cover=True) for seed in range(8)]
    assert len({order[0] for order in orders}) > 1
    assert {order[2] for order in orders} == {"c0"}


def test_held_out_shares_are_proportional_and_leave_what_is_alone():
    for seed in range(5):
        held = order_groups(STRATA, seed, cover=False)[:3]
        assert Counter(group[0] for group in held) == {"a": 2, "b": 1}  # a 0.5/6, b 0.5/3, a 1.5/6; c 0.5


def test_strata_that_the_data_name_are_taken_and_a_group_of_several_has_all_of_them():
    samples = rows_of("ppqr", ["liver", "kidney", "liver", ""])
    assert strata_of(Labels([[0]] * 4, 2), samples) == {"p": ("kidney", "liver"), "q": ("liver",), "r": ("",)}


def test_else_groups_are_told_apart_by_the_classes_that_their_labels_hold():
    labels = Labels([[0, 1, 255], [0, 2, 2], [0, 0, 1], [0, 255, 255]], 3)
    assert strata_of(labels, rows_of("pqqr")) == {"p": (0,), "q": (0, 1), "r": ()}


def test_else_by_quarters_of_their_share_of_foreground_among_labelled_pixels():
    # Shares: a 1/4, b 1/2 (of two labelled pixels), c 3/4, d 0.3, e 0.9 of ten: ranked a, d, b, c, e
    labels = Labels(
        [[0, 0, 0, 1], [0, 1, 255, 255], [0, 1, 1, 1], [0] * 7 + [1] * 3, [0] + [1] * 9],
        2,
    )
    strata = strata_of(labels, rows_of("abcde"))
    assert strata == {"a": (0,), "d": (0,), "b": (1,), "c": (2,), "e": (3,)}


@pytest.fixture
def organs(extraction):
    """Four training images, of which train0 and train1 are of the liver, the others of a kidney and of a lung."""
    kinds = {"train0": "liver", "train1": "liver", "train2": "kidney", "train3": "lung"}
    header, *rows = extraction.data.read_text(encoding="utf-8").splitlines()
    rows = [f"{row},{kinds.get(row.split(',')[0], '')}" for row in rows]
    extraction.data.write_text("\n".join([f"{header},stratum", *rows]) + "\n", encoding="utf-8")
    extract_features(extraction)
    return FeatureReader(extraction.cache)


@pytest.mark.slow
def test_labelled_groups_cover_the_strata_of_the_manifest_and_grow_one_by_one(organs, tmp_path):
    assert [row.stratum for row in organs.samples[:4]] == ["liver", "liver", "kidney", "lung"]
    for seed in range(4):
        config = TrainConfig(organs.root, tmp_path / "run", head="pixel", seed=seed)
        drawn = [choose_split(organs, replace(config, n_labelled=n)).train for n in (1, 2, 3, 4)]
        assert all({*fewer} < {*more} for fewer, more in pairwise(drawn))
        assert drawn[0][0].stratum == "liver"
        assert {row.stratum for row in drawn[2]} == {"liver", "kidney", "lung"}


def test_what_is_held_out_does_not_depend_on_how_many_are_labelled(organs, tmp_path):
    config = TrainConfig(organs.root, tmp_path / "run", head="pixel", hold_out=True, val_fraction=0.25)
    held = [choose_split(organs, replace(config, n_labelled=n)).val for n in (1, 2, None)]
    assert held[0] == held[1] == held[2]
    assert [row.stratum for row in held[0]] == ["liver"]
