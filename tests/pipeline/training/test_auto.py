"""`train-head --head auto` on a small real cache: both heads, the better one kept, within the minutes, resumable."""

import json
import os
import signal
from dataclasses import replace

import pytest

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError, RunError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.runs.folder import read_summary
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training import auto
from textdiff.pipeline.training.objectives import ContextObjective
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    return TrainConfig(tiny_cache, tmp_path / "run", text="none", epochs=2, device="cpu", learning_rate=1e-2, **sizes)


def names_of(summary):
    return [one["name"] for one in summary.choice]


def test_the_better_head_becomes_the_run(training, run_bytes, tmp_path):
    summary = train_head(training).summary
    assert names_of(summary) == ["pixel", "context"]
    best = max(summary.choice, key=lambda one: one["val_dice"])
    assert summary.val_dice == best["val_dice"]
    assert evaluate(EvaluateConfig(training.run, training.cache, split="val")).scores["dice"] == best["val_dice"]
    alone = replace(training, head=best["name"], run=tmp_path / "alone")
    train_head(alone)
    ours, theirs = run_bytes(training.run), run_bytes(alone.run)
    assert {name: ours[name] for name in ("config.json", "head.safetensors")} == {
        name: theirs[name] for name in ("config.json", "head.safetensors")
    }
    assert "Choice of the head" in (training.run / "report.html").read_text()


def test_each_candidate_is_a_run(training):
    summary = train_head(training).summary
    for one in summary.choice:
        folder = training.run / "candidates" / one["name"]
        assert RunConfig.read(folder).train["head"] == one["name"]
        assert read_summary(folder).val_dice == one["val_dice"]


def test_resumed_after_an_interruption_it_is_the_same_run(training, tmp_path, run_bytes, monkeypatch):
    train_head(training)
    stopped, losses = replace(training, run=tmp_path / "stopped"), ContextObjective.predictions

    def interrupted(self, *args):
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(ContextObjective, "predictions", losses)
        return losses(self, *args)

    monkeypatch.setattr(ContextObjective, "predictions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    assert not (stopped.run / "summary.json").exists()
    with pytest.raises(RunError, match="holds a run that did not finish"):
        train_head(stopped)
    train_head(replace(stopped, resume=True))
    ours, theirs = run_bytes(stopped.run), run_bytes(training.run)
    names = [name for name in theirs if not name.startswith("candidates") or not name.endswith("report.html")]
    assert ours.keys() == theirs.keys()
    assert [ours[name] for name in names] == [theirs[name] for name in names]


def test_a_finished_run_is_left_as_it_is(training):
    train_head(training)
    before = (training.run / "summary.json").stat().st_mtime_ns
    train_head(replace(training, resume=True))
    assert (training.run / "summary.json").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="other settings"):
        train_head(replace(training, resume=True, epochs=3))


def test_a_run_of_one_head_is_not_taken_over(training):
    train_head(replace(training, head="pixel"))
    with pytest.raises(RunError, match="begun with --head"):
        train_head(replace(training, resume=True))


@pytest.mark.parametrize(("estimate", "names"), [(1e6, ["pixel"]), (0.0, ["pixel", "context"])])
def test_heads_that_the_minutes_do_not_allow_are_left_out(training, estimate, names, monkeypatch):
    monkeypatch.setattr(auto, "_estimated_seconds", lambda _: estimate)
    monkeypatch.setattr(auto, "MOST_MEMBERS", 1)
    assert names_of(train_head(replace(training, minutes=5)).summary) == names


def test_minutes_that_are_left_go_into_an_ensemble(training, monkeypatch):
    monkeypatch.setattr(auto, "MOST_MEMBERS", 2)
    summary = train_head(replace(training, minutes=60)).summary
    assert names_of(summary)[2:] == [f"{max(summary.choice[:2], key=lambda one: one['val_dice'])['name']}-ensemble"]
    assert summary.choice[2]["ensemble"] == 2
    plan = json.loads((training.run / "candidates" / "plan.json").read_bytes())
    assert plan[names_of(summary)[2]] == 2


def test_the_estimate_is_of_the_whole_training(training):
    config = replace(training, head="pixel")
    reader = FeatureReader(config.cache)
    seconds = [Trainer.from_config(replace(config, epochs=n), reader).estimate_seconds() for n in (1, 50)]
    assert 10 < seconds[1] / seconds[0] < 250


def test_minutes_need_auto(training):
    with pytest.raises(ConfigError, match="--minutes got 5 and --head pixel"):
        replace(training, head="pixel", minutes=5)
