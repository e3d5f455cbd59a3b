"""Stage two on a GPU: two trainings of a head have equal bytes, and so has one that was interrupted."""

import os
import signal
from dataclasses import replace

import pytest

from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer

pytestmark = pytest.mark.gpu
HEADS = [("pixel", 1), ("pixel", 3), ("context", 1), ("context", 2), ("paper", 1)]


@pytest.fixture(params=["float32", "bfloat16"])
def training(request, tiny_cache, tmp_path, device):
    """Settings of a small training."""
    sizes = {"epochs": 2, "width": 16, "n_attention_heads": 2}
    return TrainConfig(tiny_cache, tmp_path / "a", text="true", device=device, precision=request.param, **sizes)


@pytest.mark.parametrize(("head", "ensemble"), HEADS)
def test_two_trainings_have_equal_bytes(training, head, ensemble, tmp_path, run_bytes):
    training = replace(training, head=head, ensemble=ensemble)
    again = replace(training, run=tmp_path / "b")
    for one in (training, again):
        train_head(one)
    assert run_bytes(training.run) == run_bytes(again.run)


@pytest.mark.parametrize("head", ["pixel", "context", "paper"])
def test_interrupted_and_resumed_gives_the_same_bytes(training, head, tmp_path, run_bytes, monkeypatch):
    training = replace(training, head=head)
    train_head(training)
    stopped, run_epoch = replace(training, run=tmp_path / "stopped"), Trainer.run_epoch

    def interrupted(self):
        monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
        os.kill(os.getpid(), signal.SIGINT)  # heeded when the epoch is kept
        return run_epoch(self)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(training.run)
