"""`--text auto`: one training, a trial of the texts on the way, and a run that is as if its text had been chosen."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.prediction import ModelOverrides
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import settle_text
from textdiff.pipeline.head_inputs.scoring import dice_of_samples
from textdiff.pipeline.prediction.segmenter import BandSegmenter
from textdiff.pipeline.runs import text_decision
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.training import trainer as module
from textdiff.pipeline.training.objectives import TRIAL_DROPOUT
from textdiff.pipeline.training.state import load_state, save_state
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer

HEADS = ("pixel", "context", "paper")


@pytest.fixture
def config(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 32, "filters": False}
    return TrainConfig(tiny_cache, tmp_path / "run", head="pixel", epochs=4, device="cpu", precision="float32", **sizes)


@pytest.fixture
def helped(monkeypatch):
    """Gives a function that has the trial come out as told, whatever the figures are."""

    def tell(used):
        decide = module.decide_on_texts
        monkeypatch.setattr(module, "decide_on_texts", lambda *args: replace(decide(*args), used=used))

    return tell


@pytest.fixture
def tried(monkeypatch):
    """Has texts tried on the two groups that there are, which by themselves could show nothing."""
    monkeypatch.setattr(text_decision, "LEAST_GROUPS", 2)


def opened(config):
    return Trainer.from_config(config, FeatureReader(config.cache))


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("head", HEADS)
def test_after_its_share_of_epochs_the_head_is_scored_with_texts_and_without(config, head):
    trainer = opened(replace(config, head=head))
    data = trainer.data
    trainer.run_epoch()
    assert trainer.text_decision is None
    trainer.run_epoch()
    found = trainer.text_decision
    each = [float(dice_of_samples(trainer.head, of, trainer.split.val).mean()) for of in (data, data.without_texts())]
    assert (found.epoch, found.n_samples, found.n_groups) == (2, 2, 2)
    assert [found.dice_with, found.dice_without] == pytest.approx(each)
    assert not found.used


@pytest.mark.usefixtures("tried")
def test_the_trial_hides_more_of_the_texts_and_the_rest_of_the_training_what_was_chosen(config, helped):
    for used in (True, False):
        helped(used)
        trainer, own = opened(config), opened(replace(config, text="true")).objective
        assert trainer.objective._text_dropout == TRIAL_DROPOUT > own._text_dropout
        before = dict(trainer.data.text_of)
        trainer.run()
        assert trainer.objective._text_dropout == own._text_dropout
        assert trainer.data.text_of == (before if used else dict.fromkeys(before))


@pytest.mark.usefixtures("tried")
def test_heads_of_the_trial_are_no_finalists(config):
    trainer = opened(config)
    trainer.run()
    assert {finalist.epoch for finalist in trainer.finalists} <= {2, 3, 4}
    one = opened(replace(config, epochs=1))
    one.run()
    assert one.text_decision.epoch == one.finish()[0].epoch == 1


@pytest.mark.parametrize("n_epochs", [1, 2, 3])
@pytest.mark.parametrize("used", [True, False])
def test_a_training_that_stops_before_or_after_the_decision_goes_on_as_if_it_had_not(config, helped, used, n_epochs):
    helped(used)
    whole, begun, resumed = opened(config), opened(config), opened(config)
    whole.run()
    for _ in range(n_epochs):
        begun.run_epoch()
    config.run.mkdir()
    save_state(config.run, begun)
    assert load_state(config.run, resumed) == ""
    assert resumed.text_decision == begun.text_decision
    resumed.run()
    save_state(config.run, whole)
    expected = (config.run / "resume.safetensors").read_bytes()
    save_state(config.run, resumed)
    assert (config.run / "resume.safetensors").read_bytes() == expected


def test_a_run_whose_texts_are_not_used_is_as_one_without(config):
    done = train_head(config)
    decision = done.summary.text
    assert not decision.used
    assert decision.line() in done.lines()
    assert done.to_dict()["text"]["reason"] == decision.reason
    assert json.loads((config.run / "summary.json").read_text())["text"]["used"] is False
    assert decision.reason in (config.run / "report.html").read_text()
    run = RunConfig.read(config.run)
    assert (run.train["text"], run.text) == ("auto", "none")
    assert evaluate(EvaluateConfig(config.run, config.cache, device="cpu")).text == "none"
    with pytest.raises(ConfigError, match=r"--text true: .* was trained without texts"):
        evaluate(EvaluateConfig(config.run, config.cache, text="true", device="cpu"))
    assert not BandSegmenter.load(config.run, ModelOverrides(device="cpu")).texts.are_read
    assert train_head(replace(config, resume=True)).summary == done.summary


@pytest.mark.usefixtures("tried")
def test_a_run_whose_texts_are_used_is_as_one_with(config, helped):
    helped(True)
    train_head(config)
    assert RunConfig.read(config.run).text == "true"
    own, none = (evaluate(EvaluateConfig(config.run, config.cache, text=text, device="cpu")) for text in (None, "none"))
    assert (own.text, none.text) == ("true", "none")
    assert own.scores != none.scores
    assert BandSegmenter.load(config.run, ModelOverrides(device="cpu")).texts.are_read


def test_settings_that_nothing_was_to_be_decided_for_have_no_decision(config):
    done = train_head(replace(config, text="none", epochs=1))
    assert done.summary.text is None
    assert "uses_texts" not in (config.run / "config.json").read_text()


def test_the_rest_of_a_training_without_texts_is_the_same_whatever_they_say(config, helped):
    """Up to the decision they are shown; after it nothing of them is."""
    helped(False)
    heads = []
    for swapped in (False, True):
        trainer = opened(config)
        for _ in range(2):
            trainer.run_epoch()
        if swapped:
            trainer.objective.data = replace(trainer.data, tokens=-trainer.data.tokens)
        trainer.run()
        heads.append(copy.deepcopy(trainer.head.state_dict()))
    assert all(bool((tensor == heads[1][name]).all()) for name, tensor in heads[0].items())


def test_a_cache_without_texts_leaves_no_choice(config, extraction):
    lines = [line.split(",") for line in extraction.data.read_text().splitlines()]
    rows = [[*cells[:3], "" if i else "text", cells[4]] for i, cells in enumerate(lines)]
    extraction.data.write_text("\n".join(map(",".join, rows)))
    extract_features(extraction)
    said = []

    class Listening(Progress):
        def say(self, line):
            said.append(line)

    done = train_head(replace(config, epochs=1), Listening())
    assert f"--text auto: none, since {config.cache} has no texts" in said
    assert done.summary.text is None
    assert RunConfig.read(config.run).train["text"] == "none"


@pytest.mark.parametrize(
    ("text", "condition", "n_texts", "settled"),
    [
        ("auto", "empty", 1, "auto"),
        ("auto", "own", 1, "true"),
        ("auto", "empty", 0, "none"),
        ("shuffled", "own", 1, "shuffled"),
    ],
)
def test_features_that_know_the_texts_leave_no_choice(text, condition, n_texts, settled):
    features, table = SimpleNamespace(condition=condition), SimpleNamespace(texts=["a"] * n_texts)
    reader = SimpleNamespace(table=table, manifest=SimpleNamespace(features=features))
    assert settle_text(reader, text) == settled


def test_where_groups_are_too_few_the_head_is_from_the_start_one_without_texts(config, tmp_path):
    summary = train_head(config).summary
    assert (summary.text.used, summary.text.epoch, summary.text.difference) == (False, 0, None)
    none = replace(config, text="none", run=tmp_path / "none")
    train_head(none)
    assert (config.run / "head.safetensors").read_bytes() == (none.run / "head.safetensors").read_bytes()
