"""`benchmarks/accuracy/few_shot.py`: who learns from what, what is kept, and what is said of it."""

import json
import sys
from dataclasses import replace

import pytest

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError, DataError


@pytest.fixture
def few_shot(benchmark_module):
    return benchmark_module("accuracy", "few_shot")


@pytest.fixture
def ladder(benchmark_module):
    return benchmark_module("accuracy", "few_shot_ladder")


@pytest.fixture
def shown(benchmark_module):
    return benchmark_module("accuracy", "few_shot_report")


def groups(samples):
    return {sample.group for sample in samples}


def test_cross_validation_scores_every_training_image_once_and_never_learns_from_it(ladder, tiny_cache):
    reader = FeatureReader(tiny_cache)
    rungs = list(ladder.climb(reader, (1, 2, 9), (0, 1), "cv", 2))
    assert [(rung.n, rung.seed, rung.fold) for rung in rungs] == [
        (n, seed, fold) for n in (1, 2, 9) for seed in (0, 1) for fold in (0, 1)
    ]
    assert [rung.n_groups for rung in rungs] == [1] * 4 + [2] * 8  # of nine there are two in each half
    for rung in rungs:
        assert not groups(rung.train) & groups(rung.scored)
    scored = [sample.id for rung in rungs[:2] for sample in rung.scored]
    assert sorted(scored) == [sample.id for sample in reader.split("train")]


def test_fewer_labels_are_among_more(ladder, tiny_cache):
    pool = FeatureReader(tiny_cache).split("train")
    for seed in range(5):
        drawn = [groups(ladder.draw_groups(pool, n, seed)) for n in (1, 2, 3, 4)]
        assert [len(one) for one in drawn] == [1, 2, 3, 4]
        assert drawn[0] < drawn[1] < drawn[2] < drawn[3]
    assert len({ladder.draw_groups(pool, 1, seed) for seed in range(20)}) == 4


def test_the_validation_split_is_scored_whole_and_learnt_from_never(ladder, tiny_cache):
    reader = FeatureReader(tiny_cache)
    (rung,) = ladder.climb(reader, (3,), (7,), "val", 5)
    assert rung.scored == reader.split("val")
    assert groups(rung.train) < groups(reader.split("train"))


def test_more_folds_than_groups_are_refused(ladder, tiny_cache):
    with pytest.raises(DataError, match=r"4 labelled groups to train on .*; expected at least 5 groups"):
        list(ladder.climb(FeatureReader(tiny_cache), (1,), (0,), "cv", 5))


def test_a_cell_is_found_again_unless_anything_it_depends_on_changed(ladder, tmp_path):
    identity = ladder.Identity("unet", 4, 0, 1, 5, "cv", {"features": "a"}, {"steps": 300, "channels": (64, 32)})
    path = tmp_path / "out" / "cells.jsonl"
    ladder.Finished(path).record(identity, {"dice": {"x": 0.5}})
    again = ladder.Finished(path)
    assert again.result(identity) == {"dice": {"x": 0.5}}
    for change in ({"fold": 2}, {"cache": {"features": "b"}}, {"settings": {"steps": 301, "channels": (64, 32)}}):
        assert again.result(replace(identity, **change)) is None


def test_a_line_that_a_crash_cut_short_is_computed_again(ladder, tmp_path):
    first, second = (ladder.Identity("head", n, 0, 0, 5, "cv", {}, {}) for n in (1, 2))
    path = tmp_path / "cells.jsonl"
    finished = ladder.Finished(path)
    finished.record(first, {"dice": 1})
    finished.record(second, {"dice": 2})
    path.write_bytes(path.read_bytes()[:-5])
    finished = ladder.Finished(path)
    assert (finished.result(first), finished.result(second)) == ({"dice": 1}, None)
    finished.record(second, {"dice": 3})
    assert ladder.Finished(path).result(second) == {"dice": 3}


def cells(shown, method, n, *by_seed):
    """Two folds, of one image each."""
    results = {
        (seed, fold): {"dice": {name: dice}, "n_groups": min(n, 19), "seconds": 2.0 + fold}
        for seed, found in enumerate(by_seed)
        for fold, (name, dice) in enumerate(found.items())
    }
    return shown.Cells(method, n, results)


def test_a_row_has_the_mean_over_images_of_the_mean_over_seeds(shown):
    row = shown.summarise(cells(shown, "head", 24, {"a": 0.5, "b": 0.9}, {"a": 0.7, "b": 0.9}), {"a": "A", "b": "B"})
    assert (row.dice, row.lowest_seed, row.highest_seed) == pytest.approx((0.75, 0.7, 0.8))
    assert (row.n_images, row.n_seeds, row.n_groups, row.seconds) == (2, 2, 19, 2.5)
    assert row.low == pytest.approx(0.6)  # both draws may be the image a
    assert row.high == pytest.approx(0.9)
    assert "| head |  | 24 (19.0 in a fold) | 0.7500 (0.600 to 0.900) | 2: 0.7000 to 0.8000 | 2 | 2.5 |" in shown.lines(
        [row], []
    )
    assert shown.to_csv([row]).splitlines()[1].startswith("head,,24,19.0,2,2,0.75,")


def test_images_of_one_group_give_no_interval(shown):
    row = shown.summarise(cells(shown, "head", 4, {"a": 0.5, "b": 0.9}), {"a": "A", "b": "A"})
    assert (row.low, row.high) == (None, None)
    assert "| head |  | 4 | 0.7000 | 1: 0.7000 to 0.7000 | 2 | 2.5 |" in shown.lines([row], [])
    assert shown.plot([row], "two folds").startswith(b"\x89PNG")


def test_the_smallest_n_that_matches_the_u_net_is_named(shown):
    found = shown.matches(
        [
            cells(shown, "head", 8, {"a": 0.8, "b": 0.8}),
            cells(shown, "head", 2, {"a": 0.6, "b": 0.8}),
            cells(shown, "head", 4, {"a": 0.8, "b": 0.7}),
            cells(shown, "head-no-text", 4, {"a": 0.5, "b": 0.7}),
            cells(shown, "head-no-text", 2, {"a": 0.6, "b": 0.7}),
            cells(shown, "rgb-filters", 2, {"a": 0.9, "b": 0.9}),
            cells(shown, "unet", 24, {"a": 0.7, "b": 0.75}),
            cells(shown, "unet", 4, {"a": 0.1, "b": 0.1}),
        ],
        {"a": "A", "b": "B"},
    )
    assert [match.line() for match in found] == [
        "head matches the U-Net's 24 labels with 4: +0.0250 (-0.0500 to +0.1000) Dice",
        "head-no-text does not match the U-Net's 24 labels: -0.0750 (-0.1000 to -0.0500) Dice at its best",
    ]
    assert shown.matches([cells(shown, "head", 8, {"a": 0.8})], {"a": "A"}) == []


def test_sets_of_sources_are_told_apart(shown):
    unet, both = (
        replace(cells(shown, "head", 4, {"a": dice, "b": dice}), sources=sources)
        for dice, sources in ((0.6, ("unet",)), (0.8, ("unet", "resnet")))
    )
    group_of = {"a": "A", "b": "B"}
    assert [shown.summarise(one, group_of).sources for one in (unet, both)] == ["unet", "unet+resnet"]
    found = shown.matches([unet, both, cells(shown, "unet", 24, {"a": 0.7, "b": 0.7})], group_of)
    assert [(match.method, match.n) for match in found] == [("head unet", None), ("head unet+resnet", 4)]


def test_everything_that_is_missing_is_said_at_once(few_shot, monkeypatch):
    monkeypatch.setattr("sys.argv", ["few_shot.py", "nowhere", "--methods", "heads,random-unet", "--n", "0,4"])
    with pytest.raises(ConfigError) as caught:
        few_shot.refuse_what_is_missing(few_shot.parse_arguments())
    message = str(caught.value)
    assert "--methods got 'heads'; expected some of head, head-no-text, context, context-no-text, " in message
    assert "random-unet needs --random-cache" in message
    assert "--n and --unet-n must be at least 1" in message


@pytest.mark.slow
def test_a_second_run_shows_the_same_and_computes_nothing(few_shot, tiny_cache, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    options = ["--methods", "rgb-filters,linear-probe", "--n", "2", "--seeds", "0", "--folds", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["few_shot.py", str(tiny_cache), *options, "--out", str(out)])
    few_shot.main()
    first = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(few_shot, "compute", lambda *_: pytest.fail("computed again"))
    few_shot.main()
    second = capsys.readouterr()
    assert json.loads(second.out) == first == json.loads((out / "few_shot.json").read_text())
    assert second.err == ""
    assert [(row["method"], row["n"], row["n_images"]) for row in first["rows"]] == [
        ("rgb-filters", 2, 4),
        ("linear-probe", 2, 4),
    ]
    assert (out / "few_shot.csv").read_text().count("\n") == 3
    assert (out / "few_shot.png").read_bytes().startswith(b"\x89PNG")
