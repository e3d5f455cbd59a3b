"""`train-head --head auto` on a small real cache: both heads, the better one kept, within the minutes, resumable."""

import os
import re
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
from textdiff.pipeline.training import auto, objectives
from textdiff.pipeline.training.objectives import ContextObjective
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    return TrainConfig(tiny_cache, tmp_path / "run", text="none", epochs=2, device="cpu", learning_rate=1e-2, **sizes)


@pytest.fixture
def five_minutes(training, monkeypatch):
    """Gives `five_minutes(head, epochs, place="")`: a candidate whose training takes 5 minutes, of which 0 are over."""
    monkeypatch.setattr(Trainer, "estimate_seconds", lambda _: 300 / auto.BESIDE_STEPS)
    monkeypatch.setattr(auto.time, "monotonic", lambda: 0.0)

    def candidate(head, epochs, place=""):
        folder = training.run / place / "candidates" / head
        folder.mkdir(parents=True)
        return replace(training, head=head, run=folder, epochs=epochs)

    return candidate


def names_of(summary):
    return [one["name"] for one in summary.choice]


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_report_shows_the_masks_of_the_chosen_head_without_the_texts_that_it_goes_without(training):
    summary = train_head(replace(training, text="auto", epochs=4)).summary
    assert not summary.text.used
    assert RunConfig.read(training.run).text == "none"
    best = max(summary.choice, key=lambda one: one["val_dice"])["name"]
    shown, expected = (
        re.findall(r"data:image/[^\"]*", (folder / "report.html").read_text())
        for folder in (training.run, training.run / "candidates" / best)
    )
    assert shown == expected != []


@pytest.mark.slow
def test_each_candidate_is_a_run(training):
    summary = train_head(training).summary
    for one in summary.choice:
        folder = training.run / "candidates" / one["name"]
        assert RunConfig.read(folder).train["head"] == one["name"]
        assert read_summary(folder).val_dice == one["val_dice"]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("minutes", "given", "epochs"),
    [(5, None, 40), (1000, None, 40), (3, None, 24), (2, None, 0), (10, 7, 7), (3, 7, 0)],
)
def test_the_minutes_set_the_epochs_of_the_second_head(five_minutes, minutes, given, epochs):
    candidate = five_minutes("context", given)
    assert auto._planned_epochs(candidate, 60.0 * minutes, is_first=False) == epochs
    assert auto._planned_epochs(candidate, 0.0, is_first=False) == epochs  # as it was first decided


@pytest.mark.parametrize(
    ("minutes", "given", "share"), [(1000, None, 1), (4, None, 0.8), (0.1, None, 0.5), (0.1, 7, 1)]
)
def test_the_first_head_is_cut_too_but_trained_in_any_case(five_minutes, minutes, given, share):
    candidate = five_minutes("pixel", given)
    assert auto._planned_epochs(candidate, 60.0 * minutes, is_first=True) == int(share * candidate.settings.epochs)


def test_with_many_images_a_shorter_training_is_worth_its_time_too(five_minutes, monkeypatch):
    monkeypatch.setattr(objectives, "steps_of_crops", lambda _: 45)
    for minutes, epochs in ((0.8, 0), (1, 8)):
        candidate = five_minutes("context", None, f"{minutes}")
        assert auto._planned_epochs(candidate, 60.0 * minutes, is_first=False) == epochs


def test_what_does_not_fit_the_minutes_is_left_out(training, monkeypatch):
    monkeypatch.setattr(auto, "_planned_epochs", lambda *_, is_first: 2 * is_first)
    trained = train_head(replace(training, minutes=5))
    assert names_of(trained.summary) == ["pixel"]
    reason = "--minutes 5 leave too little time"
    assert trained.summary.left_out == {"context": reason}
    assert f"context was left out: {reason}" in trained.lines()
    assert f"The context head was left out: {reason}." in (training.run / "report.html").read_text()
    assert not (training.run / "candidates" / "context").exists()


@pytest.mark.slow
def test_the_planned_epochs_are_trained(training, monkeypatch):
    monkeypatch.setattr(auto, "_planned_epochs", lambda *_, is_first: 4 if is_first else 3)
    train_head(replace(training, minutes=5))
    assert read_summary(training.run / "candidates" / "pixel").epochs == 4
    assert read_summary(training.run / "candidates" / "context").epochs == 3


def test_the_estimate_is_of_the_whole_training(training):
    config = replace(training, head="pixel")
    reader = FeatureReader(config.cache)
    seconds = [Trainer.from_config(replace(config, epochs=n), reader).estimate_seconds() for n in (1, 50)]
    assert 10 < seconds[1] / seconds[0] < 250


def test_a_trainer_needs_one_head(training):
    with pytest.raises(ConfigError, match="head got 'auto', which train_head resolves"):
        Trainer.from_config(training, FeatureReader(training.cache))


def test_minutes_need_auto(training):
    with pytest.raises(ConfigError, match=r"--minutes got 5\.0 and --head pixel"):
        replace(training, head="pixel", minutes=5)
