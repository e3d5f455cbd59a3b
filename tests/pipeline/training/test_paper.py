"""`train-head --head paper` on a small real cache, through the same loop and the same run folder as the pixel head."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.interface.segmenter import Segmenter
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.objectives import PaperObjective
from textdiff.pipeline.training.train import train_head
from textdiff.stages.heads.paper import PaperHead


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "learning_rate": 2e-3, "precision": "float32"}
    return TrainConfig(tiny_cache, tmp_path / "run", head="paper", text="true", epochs=3, device="cpu", **sizes)


@pytest.mark.slow
def test_the_papers_head_learns_a_bright_square_and_is_evaluated(training):
    summary = train_head(replace(training, epochs=12)).summary
    everything = 2 * 64 / (64 + 20 * 24)  # the Dice of marking every pixel
    assert summary.val_dice > 2 * everything
    losses = [json.loads(line) for line in (training.run / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["loss"] < losses[0]["loss"]
    assert max(row["val_dice_whole"] for row in losses) == pytest.approx(summary.val_dice)
    for split, dice in (("val", summary.val_dice), ("test", summary.test["dice"])):
        assert evaluate(EvaluateConfig(training.run, training.cache, split=split)).scores["dice"] == dice


def test_a_run_says_which_head_it_has_and_with_which_settings(training):
    train_head(replace(training, epochs=1, learning_rate=None))
    config = RunConfig.read(training.run)
    settings = {name: config.train[name] for name in ("head", "learning_rate", "weight_decay", "images_per_step")}
    assert settings == {"head": "paper", "learning_rate": 1e-4, "weight_decay": 0.0, "images_per_step": 1}
    head = load_head(training.run, config, "cpu")
    assert isinstance(head, PaperHead)
    assert not head.training
    assert int(head.get_buffer("decoder.1.num_batches_tracked")) == 4  # one step for each training image


def test_interrupted_and_resumed_gives_the_same_bytes_as_never_interrupted(training, tmp_path, run_bytes, monkeypatch):
    """The running statistics of the batch norms included."""
    train_head(training)
    stopped, losses = replace(training, run=tmp_path / "stopped"), PaperObjective.predictions

    def interrupted(self, *args):
        os.kill(os.getpid(), signal.SIGINT)  # in the first epoch
        monkeypatch.setattr(PaperObjective, "predictions", losses)
        return losses(self, *args)

    monkeypatch.setattr(PaperObjective, "predictions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    assert len((stopped.run / "metrics.jsonl").read_text().splitlines()) == 1
    train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(training.run)


def test_a_head_without_text_gives_the_same_whatever_the_texts(training, extraction):
    train_head(replace(training, text="none"))
    before = evaluate(EvaluateConfig(training.run, training.cache)).scores
    extraction.data.write_text(extraction.data.read_text().replace("the nuclei are round", "not malignant"))
    extract_features(extraction)
    assert evaluate(EvaluateConfig(training.run, training.cache)).scores == before


def test_a_new_image_gets_what_the_cache_gives(training):
    train_head(training)
    reader, config = FeatureReader(training.cache), RunConfig.read(training.run)
    data = open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu", filters=False)
    sample = reader.split("train")[0]
    (x,) = data.inputs([sample])
    (expected,) = load_head(training.run, config, "cpu").segment(x)
    text = reader.table.texts[sample.text]
    prediction = Segmenter.load(training.run).predict(np.array(reader.image(sample.row)), text, sample_id=sample.id)
    torch.testing.assert_close(torch.from_numpy(prediction.probabilities), expected.softmax(0), atol=1e-2, rtol=0)


def test_blocks_that_cannot_share_a_projection_are_refused_before_anything_is_written(training, extraction, tmp_path):
    extract_features(replace(extraction, cache=tmp_path / "three", blocks=(0, 1, 3)))
    three = replace(training, cache=tmp_path / "three", width=24)
    with pytest.raises(ConfigError, match="block 1 has 32, block 3 has 16"):
        train_head(three)
    assert not training.run.exists()
    assert train_head(replace(three, width=16, epochs=1)).summary.epochs == 1  # block 3 needs no projection
