"""From counts to figures: samples and not tiles, classes, what has no figure, and intervals over groups."""

import pytest
import torch

from textdiff.cache.format.samples import SampleRow, parents
from textdiff.pipeline.scoring.summary import counts_by_parent, scores


def row_of(parent, group=None):
    return SampleRow(parent, parent, group or parent, "test", 0, None, (4, 4), "", "", None, None)


def test_tiles_of_a_sample_are_added_up_before_the_ratio():
    rows = [row_of("b"), row_of("a"), row_of("b")]
    counts = torch.tensor([[[5, 1], [0, 2]], [[1, 0], [0, 1]], [[3, 0], [4, 2]]])
    assert parents(rows) == ("b", "a")
    assert counts_by_parent(counts, rows).tolist() == [[[8, 1], [4, 4]], [[1, 0], [0, 1]]]
    figures = scores(counts, rows)
    assert figures["n"] == 2
    # b: 2·4 / (2·4 + 1 + 4), where the mean over its tiles would be (2·2 / 5 + 2·2 / 8) / 2.
    assert [(one["id"], one["dice"]) for one in figures["per_sample"]] == [("b", pytest.approx(8 / 13)), ("a", 1.0)]
    assert figures["dice"] == pytest.approx((8 / 13 + 1) / 2)
    assert figures["micro_dice"] == pytest.approx(10 / 15)
    assert (figures["precision"], figures["recall"]) == (pytest.approx((4 / 5 + 1) / 2), pytest.approx((4 / 8 + 1) / 2))
    assert (figures["micro_precision"], figures["micro_recall"]) == (pytest.approx(5 / 6), pytest.approx(5 / 9))


def test_each_class_has_its_figures_and_each_sample_those_of_each_class():
    counts = torch.tensor([[[9, 0, 0], [0, 2, 2], [0, 0, 3]], [[9, 0, 0], [0, 4, 0], [3, 0, 0]]])
    figures = scores(counts, [row_of("a"), row_of("b")])
    assert figures["class_dice"] == [pytest.approx((4 / 6 + 1) / 2), pytest.approx((6 / 8 + 0) / 2)]
    assert figures["per_sample"][0]["class_dice"] == [pytest.approx(4 / 6), pytest.approx(6 / 8)]
    assert figures["per_sample"][0]["dice"] == pytest.approx((4 / 6 + 6 / 8) / 2)
    assert figures["per_sample"][1]["class_precision"] == [1.0, None]
    assert "class_dice" not in scores(counts[:, :2, :2], [row_of("a"), row_of("b")])["per_sample"][0]


def test_what_a_sample_lacks_is_none_left_out_of_the_mean_and_counted_apart():
    counts = torch.tensor([[[4, 0], [2, 0]], [[4, 0], [1, 1]]])  # in the first, nothing is predicted
    distances = torch.tensor([[float("nan")], [float("nan")]], dtype=torch.float64)
    figures = scores(counts, [row_of("a"), row_of("b")], {"hd95": distances})
    assert [one["precision"] for one in figures["per_sample"]] == [None, 1.0]
    assert figures["precision"] == 1.0
    assert figures["hd95"] is figures["intervals"]["hd95"] is None
    assert figures["undefined"] == {"precision": 1, "hd95": 2}


def test_intervals_are_over_groups_and_hold_the_figures():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(5, 50, (12, 2, 2), generator=generator)
    rows = [row_of(f"s{i}", f"g{i % 6}") for i in range(12)]
    figures = scores(counts, rows)
    assert (figures["n"], figures["n_groups"]) == (12, 6)
    for name in ("dice", "iou", "precision", "recall", "micro_dice", "micro_recall"):
        low, high = figures["intervals"][name]
        assert low < figures[name] < high, name
    # The two samples of each group as one: the same pixels in the same groups.
    merged = scores(counts, [row_of(f"g{i % 6}") for i in range(12)])
    assert merged["intervals"]["micro_dice"] == pytest.approx(figures["intervals"]["micro_dice"])
    alone = scores(counts, [row_of(f"s{i}") for i in range(12)])
    assert alone["intervals"]["dice"] != pytest.approx(figures["intervals"]["dice"])


def test_one_group_has_no_interval():
    figures = scores(torch.ones(3, 2, 2, dtype=torch.long), [row_of(name, "g") for name in "abc"])
    assert {*figures["intervals"].values()} == {None}


def test_objects_are_averaged_over_samples_and_pooled():
    # Sum of IoUs, pairs and objects of one class: PQ 0.3 and 1, DQ 0.5 and 1, SQ 0.6 and 1; of both, 2 · 1.6 / 6.
    matches = torch.tensor([[[0.6, 1, 4]], [[1.0, 1, 2]], [[0, 0, 0]]], dtype=torch.float64)
    counts, rows = torch.ones(3, 2, 2, dtype=torch.long), [row_of(name) for name in "abc"]
    figures = scores(counts, rows, matches=matches)
    assert [one["pq"] for one in figures["per_sample"]] == [pytest.approx(0.3), 1.0, None]
    means = {"pq": 0.65, "dq": 0.75, "sq": 0.8}
    pooled = {"micro_pq": 3.2 / 6, "micro_dq": 4 / 6, "micro_sq": 0.8}
    assert {name: figures[name] for name in means | pooled} == pytest.approx(means | pooled)
    assert figures["undefined"] == {"pq": 1, "sq": 1, "dq": 1}
    low, high = figures["intervals"]["micro_pq"]
    assert low < 3.2 / 6 < high


def test_samples_with_empty_masks_are_counted_by_where_a_class_is_missing():
    both, truth, prediction, full = [[4, 0], [0, 0]], [[3, 1], [0, 0]], [[3, 0], [1, 0]], [[3, 0], [0, 1]]
    counts = torch.tensor([both, truth, truth, prediction, full])
    figures = scores(counts, [row_of(name) for name in "abcde"])
    assert figures["empty"] == {"both": 1, "truth": 2, "prediction": 1}
    assert [one["dice"] for one in figures["per_sample"]] == [1, 0, 0, 0, 1]
    # Of two classes, the first is in neither mask and the second in the truth alone: one sample, under each.
    several = torch.tensor([[[2, 0, 0], [0, 0, 0], [2, 0, 0]]])
    assert scores(several, [row_of("a")])["empty"] == {"both": 1, "truth": 0, "prediction": 1}
