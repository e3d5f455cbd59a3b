"""The arithmetic of a training: recorded with the run, kept by a resume, and of the forward alone."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError, RunError
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.head_inputs.scoring import dice_of_samples
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.runtime import device
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.seeds import named_generator


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    return TrainConfig(tiny_cache, tmp_path / "run", head="pixel", text="true", epochs=2, device="cpu", **sizes)


@pytest.fixture
def native(monkeypatch):
    """Gives `native(answer)`: whether the processor computes bfloat16."""
    return lambda answer: monkeypatch.setattr(device, "computes_bfloat16", lambda _: answer)


@pytest.mark.parametrize("answer", [True, False])
def test_a_run_records_what_auto_became(training, native, answer):
    native(answer)
    train_head(training)
    assert RunConfig.read(training.run).train["precision"] == ("bfloat16" if answer else "float32")
    weights = load_file(training.run / "head.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_the_forward_is_bfloat16s_and_the_loss_float32s(training, head):
    sizes = {"width": 768, "images_per_step": 1} if head == "paper" else {}
    config, seen = replace(training, head=head, **sizes), []
    for precision in ("float32", "bfloat16"):
        trainer = Trainer.from_config(replace(config, precision=precision), FeatureReader(config.cache))
        samples = trainer.split.train[:1] if head == "paper" else trainer.split.train[:2]
        ((logits, _),) = trainer.objective.predictions(trainer.objective.draw(samples, named_generator(0, "step")))
        seen.append(logits.detach())
    exact, rough = seen
    assert exact.dtype == rough.dtype == torch.float32
    torch.testing.assert_close(rough, rough.bfloat16().float(), rtol=0, atol=0)  # what bfloat16 can say
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_is_scored_in_the_arithmetic_of_its_training(training, precision):
    summary = train_head(replace(training, head="context", precision=precision)).summary
    trainer = Trainer.from_config(replace(training, head="context", precision=precision), FeatureReader(training.cache))
    head = load_head(training.run, RunConfig.read(training.run), "cpu")
    assert head.precision == trainer.head.precision == precision
    trainer.head.load_state_dict(head.state_dict())
    dice = [dice_of_samples(one, trainer.data, trainer.split.val) for one in (head, trainer.head)]
    assert torch.equal(*dice)
    assert float(dice[0].mean()) == summary.val_dice
    (x,) = trainer.data.inputs(trainer.split.val[:1])
    logits, head.precision = head.segment(x), "float32"
    assert logits.dtype == torch.float32
    difference = float((logits - head.segment(x)).norm() / logits.norm())
    assert difference == 0 if precision == "float32" else 0 < difference < 0.05


def test_a_resume_keeps_the_arithmetic_of_the_run_on_any_processor(training, native, tmp_path, run_bytes, monkeypatch):
    native(True)
    train_head(training)
    stopped, step = replace(training, run=tmp_path / "stopped"), Trainer.learn

    def interrupted(self, *args):
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(Trainer, "learn", step)
        return step(self, *args)

    monkeypatch.setattr(Trainer, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    native(False)
    with pytest.raises(RunError, match=r'train\.precision: the run has "bfloat16", this command says "float32"'):
        train_head(replace(stopped, resume=True, precision="float32"))
    train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(training.run)


def test_float16_is_refused_for_training(training):
    with pytest.raises(ConfigError, match="--precision got 'float16'; expected one of auto, float32, bfloat16"):
        replace(training, precision="float16")
