"""A run as an object: trained or opened, evaluated, compared, applied."""

import os

import numpy as np
import pytest

import textdiff as td
from textdiff.errors import RunError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.evaluation.evaluate import evaluate

SMALL = {"head": "pixel", "width": 16, "n_attention_heads": 2, "device": "cpu", "text": "true"}


@pytest.fixture
def run(tiny_cache, tmp_path):
    return td.train_head(tiny_cache, tmp_path / "run", epochs=3, **SMALL)


@pytest.mark.slow
def test_a_training_returns_its_run_and_opening_gives_the_same(run, tmp_path):
    opened = td.open_run(tmp_path / "run")
    assert opened.summary == run.summary
    assert [one["epoch"] for one in opened.history] == [1, 2, 3]
    assert opened.to_rows() == run.to_rows() == [dict(one) for one in run.summary.val_per_sample]
    assert run.lines()[0].partition(" in ")[0] == opened.lines()[0].partition(";")[0]
    assert run.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert os.fspath(opened) == str(tmp_path / "run")
    assert opened.config.train["epochs"] == 3


@pytest.mark.slow
def test_its_evaluation_is_the_commands(run, tiny_cache):
    own, commands = run.evaluate(split="val"), evaluate(EvaluateConfig(run.path, tiny_cache, split="val"))
    assert own.to_dict() == commands.to_dict()
    assert [row["id"] for row in own.to_rows()] == ["val0", "val1"]
    np.testing.assert_allclose(own.to_frame().dice.mean(), own.scores["dice"])
    assert f"{own.scores['dice']:.4f}" in own._repr_html_()


def test_its_evaluation_refuses_arguments_as_the_function_does(run):
    with pytest.raises(
        TypeError, match=r"evaluate\(\) got an unexpected keyword argument 'splitt'; did you mean 'split'"
    ):
        run.evaluate(splitt="val")
    with pytest.raises(TypeError, match="run"):
        run.evaluate(run="other")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "lacks metrics.jsonl; restore the file, or train again"),
        (b"", r"metrics.jsonl: not the metrics of a run \(epochs or figures are missing\); restore"),
        (b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "lo', r"metrics.jsonl: not the metrics of a run \(.*\); restore"),
        (b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2}\n', "epochs or figures are missing"),
        (b'{"loss": 0.5}\n', "epochs or figures are missing"),
        (b"[1]\n", "not the metrics of a run"),
    ],
)
def test_a_history_that_is_absent_or_damaged_is_one_error(run, content, message):
    path = run.path / "metrics.jsonl"
    path.unlink() if content is None else path.write_bytes(content)
    for read in (lambda: td.open_run(run).history, lambda: td.plot.curve(run)):
        with pytest.raises(RunError, match=message):
            read()


@pytest.mark.slow
def test_runs_are_compared_and_suggest_as_objects(run, tiny_cache, tmp_path):
    other = td.train_head(tiny_cache, tmp_path / "other", epochs=1, **SMALL)
    compared = td.compare(run, other, split="val")
    assert [row["difference"] for row in compared.to_rows()] == [row["a"] - row["b"] for row in compared.to_rows()]
    np.testing.assert_allclose(np.mean([row["difference"] for row in compared.to_rows()]), compared.paired.difference)


@pytest.mark.slow
def test_it_segments(run, tiny_data):
    prediction = run.segmenter(device="cpu").predict(tiny_data.parent / "test0.png", "round")
    assert prediction.mask.shape == (20, 24)


@pytest.mark.slow
def test_a_folder_that_is_no_finished_run_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="no run here"):
        td.open_run(tmp_path)
    (run.path / "summary.json").unlink()
    with pytest.raises(RunError, match="its training did not finish"):
        td.open_run(run.path)


@pytest.mark.slow
def test_an_ablations_table(tiny_cache, tmp_path):
    settings = {"subsets": [[50], [50, 150]], "seeds": [0], "epochs": 1, "device": "cpu"}
    ablation = td.ablate_timesteps(tiny_cache, tmp_path / "ablation", **settings)
    frame = ablation.to_frame()
    assert list(frame.columns) == ["timesteps", "dice", "low", "high", "std", "behind", "p"]
    assert sorted(frame.timesteps) == ["50", "50,150"]
    assert frame.dice.is_monotonic_decreasing
