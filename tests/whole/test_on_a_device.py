"""Commands on the pretend device: no mixture of devices on their way, and the CPU's figures at its end."""

from dataclasses import replace

import pytest
from pretend_device import pretend_device

from textdiff import explain
from textdiff.config import ExplainConfig
from textdiff.pipeline.ablation import workers
from textdiff.pipeline.ablation.ablate import ablate_timesteps
from textdiff.pipeline.config.ablation import AblateConfig
from textdiff.pipeline.config.evaluation import EvaluateConfig, SuggestConfig
from textdiff.pipeline.config.training import HEAD_DEFAULTS, TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.evaluation.suggest import suggest
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer

SIZES = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 16, "images_per_step": 2}


@pytest.fixture
def training(extraction, tmp_path):
    text = extraction.data.read_text(encoding="utf-8")
    extraction.data.write_text(text.replace("train3_mask.png", ""), encoding="utf-8")  # one to suggest
    extract_features(extraction)
    return TrainConfig(
        extraction.cache, tmp_path / "run", head="pixel", text="true", epochs=2, precision="float32", **SIZES
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_a_run_is_made_and_used_with_the_cpus_figures(training, extraction, head):
    cpu = replace(training, head=head, device="cpu", run=training.run / "cpu")
    train_head(cpu)
    image, words = extraction.data.parent / "test0.png", "the nuclei are round"

    def used(run, device):
        evaluation = evaluate(EvaluateConfig(run, cpu.cache, split="val", words=True, device=device))
        explanation = explain(ExplainConfig(run, image, words, out=run.parent / f"{device} explained", device=device))
        return evaluation.scores, suggest(SuggestConfig(cpu.cache, run, device=device)).suggestions, explanation

    scores, suggestions, _ = used(cpu.run, "cpu")
    with pretend_device():
        there = replace(cpu, run=training.run / "there", device="cuda")
        trained = train_head(there).summary
        scores_there, suggestions_there, _ = used(cpu.run, "cuda")
    assert 0 <= trained.val_dice <= 1
    assert scores_there["dice"] == pytest.approx(scores["dice"], abs=1e-5)
    assert [one.id for one in suggestions_there] == [one.id for one in suggestions]


@pytest.mark.slow
def test_a_training_resumes_to_the_same_bytes(training, run_bytes, tmp_path, monkeypatch):
    there = replace(training, device="cuda", ensemble=2)
    stopped, learn = replace(there, run=tmp_path / "stopped"), Trainer.learn

    def interrupted(self, *args):
        if self.epoch == 1:
            monkeypatch.setattr(Trainer, "learn", learn)
            raise KeyboardInterrupt
        return learn(self, *args)

    with pretend_device():
        train_head(there)
        monkeypatch.setattr("textdiff.pipeline.training.train.SAVE_EVERY_S", 0.0)
        monkeypatch.setattr(Trainer, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_head(stopped)
        train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(there.run)


@pytest.mark.slow
def test_an_ablation_is_the_cpus(training, tmp_path, monkeypatch):
    monkeypatch.setitem(HEAD_DEFAULTS, "pixel", replace(HEAD_DEFAULTS["pixel"], width=16, images_per_step=2))
    monkeypatch.setattr(workers, "HEADS_ON_A_GPU", 1)  # other processes have no pretend device
    config = AblateConfig(training.cache, tmp_path / "cpu", seeds=(0,), epochs=1, device="cpu")
    expected = ablate_timesteps(config)
    with pretend_device():
        found = ablate_timesteps(replace(config, out=tmp_path / "there", device="cuda"))
    assert [row.name for row in found.rows] == [row.name for row in expected.rows]
