"""`benchmarks/accuracy/suggest.py`: both ways start alike, and each learns from the images that are its own."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.training import TrainConfig


@pytest.fixture
def benchmark(benchmark_module):
    return benchmark_module("accuracy", "suggest")


def chain_of(benchmark, reader, seed=0):
    rows = reader.split("train")
    config = TrainConfig(
        Path("c"), Path("r"), head="pixel", device="cpu", epochs=1, width=16, n_attention_heads=2, pixels_per_image=32
    )
    identity = benchmark.Identity("", 0, seed, 0, 3, "cv", {}, {})
    return benchmark.Chain(reader, config, benchmark.shuffled(rows, seed), reader.split("val"), identity)


def test_ways_start_alike_and_then_learn_from_what_is_ranked_first_or_drawn_next(
    benchmark, tiny_cache, tmp_path, monkeypatch
):
    chain, learnt = chain_of(benchmark, FeatureReader(tiny_cache)), []

    def rung(chain, names, *, ranked):
        learnt.append(names)
        others = [name for name in chain.pool if name not in names]
        return {"dice": {"val0": len(learnt) / 10}} | ({"ranked": others[::-1]} if ranked else {})

    monkeypatch.setattr(benchmark, "rung", rung)
    finished = benchmark.Finished(tmp_path / "cells.jsonl")
    chosen, drawn = (dict(benchmark.climb(chain, way, (1, 2, 4), finished)) for way in benchmark.WAYS)
    a, b, c, d = chain.pool
    assert learnt == [[a], [a, d], [a, d, c, b], [a, b], [a, b, c, d]]
    assert [chosen[1], drawn[1], drawn[2]] == [{"val0": 0.1}, {"val0": 0.1}, {"val0": 0.4}]
    again = benchmark.Finished(tmp_path / "cells.jsonl")
    assert dict(benchmark.climb(chain, "suggest", (1, 2, 4), again)) == chosen
    assert len(learnt) == 5


def test_chance_draws_each_image_once_and_otherwise_with_another_seed(benchmark, tiny_cache):
    rows = FeatureReader(tiny_cache).split("train")
    orders = [[*benchmark.shuffled(rows, seed)] for seed in range(8)]
    assert all(sorted(order) == [f"train{i}" for i in range(4)] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_a_rung_is_scored_on_images_that_it_did_not_learn_from_and_ranks_the_rest(benchmark, tiny_cache):
    chain = chain_of(benchmark, FeatureReader(tiny_cache))
    first, *others = chain.pool
    result = benchmark.rung(chain, [first], ranked=True)
    assert sorted(result["ranked"]) == sorted(others)
    assert [*result["dice"]] == ["val0", "val1"]
    assert "ranked" not in benchmark.rung(chain, [first], ranked=False)


def test_differences_are_paired_by_chain(benchmark):
    row = benchmark.row(4, [{"a": 0.9, "b": 0.7}, {"c": 0.5}], [{"a": 0.7, "b": 0.7}, {"c": 0.4}])
    assert (row["n_chains"], row["suggest"], row["chance"]) == (2, pytest.approx(0.65), pytest.approx(0.55))
    assert (row["gain"], row["low"], row["high"]) == pytest.approx((0.1, 0.1, 0.1))


def test_figures_that_cannot_be_true_are_refused(benchmark):
    sound = [{"n": 2, "suggest": 0.6, "chance": 0.6}, {"n": 4, "suggest": 0.7, "chance": 0.65}]
    assert list(benchmark.implausible({"trivial_dice": 0.5, "rows": sound})) == []
    amiss = [{"n": 2, "suggest": 0.6, "chance": 0.5}, {"n": 4, "suggest": 1.7, "chance": 0.3}]
    problems = "\n".join(benchmark.implausible({"trivial_dice": 0.5, "rows": amiss}))
    assert "first images: 0.6 and 0.5" in problems
    assert "Dice of suggest with 4 labels is 1.7" in problems
    assert "Dice of chance with most labels is 0.3" in problems


@pytest.mark.slow
def test_the_whole_way_from_the_command_line(run_benchmark, tiny_cache, tmp_path, capsys):
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy" / "suggest.py"
    options = ("--n", "1,2", "--seeds", "0", "--folds", "2", "--epochs", "1", "--json", "--out", str(tmp_path))
    with suppress(SystemExit):  # a head of one epoch need not be better than one class everywhere
        run_benchmark(path, str(tiny_cache), *options)
    shown = json.loads(capsys.readouterr().out)
    assert [row["n_chains"] for row in shown["rows"]] == [2, 2]
    assert shown["rows"][0]["gain"] == 0
