"""`train-head --head context` on a small real cache, through the same loop and run folder as the other heads."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.crops import draw_crops
from textdiff.pipeline.head_inputs.inputs import open_head_data
from textdiff.pipeline.interface.segmenter import Segmenter
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.training.objectives import ContextObjective
from textdiff.pipeline.training.schedule import steps_of_crops
from textdiff.pipeline.training.train import train_head
from textdiff.stages.features.crops import turned
from textdiff.stages.features.sampling import COLOURS, FILTERS
from textdiff.stages.heads.context import seen
from textdiff.stages.seeds import named_generator


@pytest.fixture
def training(tiny_cache, tmp_path):
    return TrainConfig(
        tiny_cache, tmp_path / "run", head="context", text="true", epochs=3, width=16, n_attention_heads=2, device="cpu"
    )


def open_all(cache):
    reader = FeatureReader(cache)
    return open_head_data(reader, blocks=None, timesteps=None, text="true", seed=0, device="cpu"), reader


@pytest.mark.slow
def test_the_context_head_learns_a_bright_square_and_is_evaluated(training):
    summary = train_head(replace(training, epochs=6)).summary
    assert summary.val_dice > 0.8
    assert evaluate(EvaluateConfig(training.run, training.cache, split="val")).scores["dice"] == summary.val_dice
    losses = [json.loads(line) for line in (training.run / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["loss"] < losses[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", [1, 2])
def test_interrupted_and_resumed_gives_the_same_bytes_as_never_interrupted(
    training, ensemble, tmp_path, run_bytes, monkeypatch
):
    training = replace(training, ensemble=ensemble, epochs=2)
    train_head(training)
    stopped, losses = replace(training, run=tmp_path / "stopped"), ContextObjective.predictions

    def interrupted(self, *args):
        os.kill(os.getpid(), signal.SIGINT)  # in the first epoch
        monkeypatch.setattr(ContextObjective, "predictions", losses)
        return losses(self, *args)

    monkeypatch.setattr(ContextObjective, "predictions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(training.run)


@pytest.mark.slow
def test_a_new_image_gets_what_the_cache_gives(training):
    train_head(training)
    data, reader = open_all(training.cache)
    sample = reader.split("train")[0]
    (x,) = data.inputs([sample])
    (expected,) = load_head(training.run, RunConfig.read(training.run), "cpu").segment(x)
    text = reader.table.texts[sample.text]
    prediction = Segmenter.load(training.run).predict(np.array(reader.image(sample.row)), text, sample_id=sample.id)
    torch.testing.assert_close(torch.from_numpy(prediction.probabilities), expected.softmax(0), atol=1e-2, rtol=0)


def test_a_batch_holds_the_same_crop_of_every_block_and_of_the_labels(training):
    data, reader = open_all(training.cache)
    batch = draw_crops(data, reader.split("train")[:2], named_generator(0, "crops"))
    assert batch.size == data.size  # images of 24 pixels are smaller than any crop
    for i, sample in enumerate(reader.split("train")[:2]):
        assert torch.equal(batch.labels[i], data.labels(sample))
        for block, of in seen(data.maps(sample)).items():
            whole = torch.cat([torch.as_tensor(map_) for map_ in of], -1)
            assert torch.equal(batch.features[block][i], whole)


def test_crops_are_turned_with_their_labels(training):
    data, reader = open_all(training.cache)
    samples = reader.split("train")[:4]
    upright = draw_crops(data, samples, named_generator(0, "crops"))
    batch = draw_crops(data, samples, named_generator(1, "crops"), turn=True)
    assert upright.turns == [0, 0, 0, 0]
    assert len(set(batch.turns)) > 1
    for i, turn in enumerate(batch.turns):  # the crops are whole images
        assert torch.equal(batch.labels[i], turned(upright.labels[i], turn))
        for block, maps in upright.features.items():
            assert torch.equal(batch.features[block][i], turned(maps[i], turn))


def test_colours_are_the_images_own(training):
    data, reader = open_all(training.cache)
    sample = reader.split("train")[0]
    image = torch.tensor(reader.image(sample.row)).double()
    colours = data.maps(sample)[FILTERS][0][..., COLOURS].double()
    for channel in range(3):
        both = torch.stack([image[..., channel].flatten(), colours[..., channel].flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95


def test_the_filters_are_seen_and_can_be_left_out(training):
    train_head(replace(training, epochs=1))
    assert FILTERS in RunConfig.read(training.run).head.fine
    train_head(replace(training, epochs=1, run=training.run / "without", filters=False))
    assert set(RunConfig.read(training.run / "without").head.channels) == {1, 3}


def test_images_that_do_not_divide_into_cells_are_refused_before_anything_is_written(training, extraction, tmp_path):
    level = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    torch.manual_seed(0)
    UNet2DModel(in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=2, **level).save_pretrained(
        tmp_path / "flat" / "unet"
    )
    DDPMScheduler().save_pretrained(tmp_path / "flat" / "scheduler")
    flat = {"unet": f"diffusers:{tmp_path / 'flat'}", "blocks": (0,), "image_size": 25}
    extract_features(replace(extraction, cache=tmp_path / "odd", **flat))
    with pytest.raises(ConfigError, match="looks at cells of 2x2 pixels, and the cache's images have 25x25"):
        train_head(replace(training, cache=tmp_path / "odd"))
    assert not training.run.exists()


@pytest.mark.parametrize(("n_images", "steps"), [(1, 15), (4, 15), (8, 16), (19, 38), (24, 45), (500, 45)])
def test_many_images_are_learnt_from_for_longer_than_few(n_images, steps):
    assert steps_of_crops(n_images) == steps
