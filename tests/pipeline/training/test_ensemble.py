"""Ensembles from training to masks: each member by itself, exact about resuming, uncertain where members disagree."""

import copy
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from textdiff import Segmenter
from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError, DataError, RunError
from textdiff.pipeline.config.evaluation import CompareConfig, EvaluateConfig
from textdiff.pipeline.config.prediction import ModelOverrides, PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.evaluation.compare import compare
from textdiff.pipeline.evaluation.evaluate import evaluate
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.pixels import sample_batch
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.prediction.segmenter import BandSegmenter
from textdiff.pipeline.training.train import train_head
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.features.augmentation import draw_shown
from textdiff.stages.heads.loss import segmentation_loss
from textdiff.stages.metrics.uncertainty import mutual_information
from textdiff.stages.seeds import named_generator


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    rates = {"learning_rate": 1e-2, "weight_decay": 0.01}
    return TrainConfig(
        tiny_cache, tmp_path / "run", head="pixel", text="true", ensemble=3, epochs=4, device="cpu", **sizes, **rates
    )


def opened(config):
    return Trainer.from_config(config, FeatureReader(config.cache))


def test_the_first_member_begins_as_a_single_head_and_the_others_do_not(training):
    (alone,) = opened(replace(training, ensemble=1)).head.members
    first, second, third = opened(training).head.members
    for name, weight in alone.state_dict().items():
        assert torch.equal(first.state_dict()[name], weight), name
    kernels = [head.get_parameter("projections.1.weight") for head in (first, second, third)]
    assert len({float(kernel.detach().sum()) for kernel in kernels}) == 3


def test_a_step_trains_each_member_by_itself_on_its_own_half_of_the_pixels(training):
    trainer = opened(replace(training, text_dropout=0.5, learning_rate=0.01, precision="float32"))
    data, samples = trainer.data, trainer.split.train[:2]
    alone = [copy.deepcopy(member).train() for member in trainer.head.members]
    assert torch.equal(alone[0].get_buffer("mean_1"), alone[2].get_buffer("mean_1"))
    trainer.head.train()
    loss = trainer.step(samples, 0.5, named_generator(0, "any"))
    generator = named_generator(0, "any")
    batch, (tokens, mask) = sample_batch(data, samples, 64, generator), data.texts(samples)
    shown = draw_shown(2, alone[0].spec.channels, generator)
    seen = trainer.head.members[0].inputs(batch.features) * shown
    losses = []
    for head, trained in zip(alone, trainer.head.members, strict=True):
        optimizer = torch.optim.AdamW(head.parameters(), trainer.optimizer.param_groups[0]["lr"], weight_decay=0.01)
        own = torch.randperm(64, generator=generator)[:32]
        shown = torch.rand(2, generator=generator) >= 0.5
        logits = head(seen[:, own], batch.pixels[:, own], data.size, tokens, mask & shown[:, None])
        losses.append(segmentation_loss(logits.flatten(0, 1), batch.labels[:, own].flatten(), data.ignore))
        losses[-1].backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        for name, weight in head.state_dict().items():
            torch.testing.assert_close(trained.state_dict()[name], weight, atol=1e-5, rtol=1e-4)
    assert loss == pytest.approx(float(torch.stack(losses).detach().mean()), rel=1e-5)


@pytest.mark.slow
def test_interrupted_and_resumed_gives_the_same_bytes_and_so_does_the_same_seed(
    training, tmp_path, run_bytes, monkeypatch
):
    train_head(training)
    stopped, step = replace(training, run=tmp_path / "stopped"), Trainer.learn

    def interrupted(self, *args):
        if self.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(Trainer, "learn", step)
        return step(self, *args)

    monkeypatch.setattr(Trainer, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_head(stopped)
    with pytest.raises(RunError, match=r"train\.ensemble: the run has 3, this command says 2"):
        train_head(replace(stopped, resume=True, ensemble=2))
    train_head(replace(stopped, resume=True))
    assert run_bytes(stopped.run) == run_bytes(training.run)


def test_ensembles_that_cannot_be_are_refused(training):
    with pytest.raises(ConfigError, match="--ensemble got 0; expected at least 1"):
        replace(training, ensemble=0)
    with pytest.raises(ConfigError, match="--ensemble got 3; --head paper is trained alone: leave --ensemble out"):
        replace(training, head="paper")


@pytest.mark.slow
def test_an_ensemble_is_evaluated_by_its_mean_and_compared_with_a_single_head(training, tmp_path):
    summary = train_head(training)
    single = replace(training, ensemble=1, run=tmp_path / "single")
    train_head(single)
    assert summary.lines()[0].startswith(f"{training.run}: 3 heads, together ")
    evaluation = evaluate(EvaluateConfig(training.run, training.cache, device="cpu"))
    assert evaluation.scores["dice"] == pytest.approx(summary.summary.test["dice"])
    by_entropy, by_mutual_information = (
        evaluation.scores["selective"][kind] for kind in ("predictive_entropy", "mutual_information")
    )
    assert by_entropy["1.00"] == by_mutual_information["1.00"] == pytest.approx(evaluation.scores["dice"])
    text = "\n".join(evaluation.lines())
    assert "\n  by predictive entropy " in text
    assert "\n  by mutual information " in text
    difference = compare(CompareConfig(training.run, single.run, split="test", device="cpu")).paired.difference
    alone = evaluate(EvaluateConfig(single.run, training.cache, device="cpu")).scores
    assert [*alone["selective"]] == ["predictive_entropy"]
    assert difference == pytest.approx(evaluation.scores["dice"] - alone["dice"])


@pytest.mark.slow
@pytest.mark.parametrize("tile", [None, 16])
def test_uncertainty_is_the_members_mutual_information_after_views_and_tiles(extraction, training, tile, tmp_path):
    cache = tmp_path / "other"
    extract_features(replace(extraction, cache=cache, tile=tile, tile_overlap=6 if tile else 0))
    training = replace(training, cache=cache, epochs=1)
    train_head(training)
    segmenter = BandSegmenter.load(training.run, ModelOverrides(device="cpu"))
    request = segmenter.request(extraction.data.parent / "test0.png")
    prediction = segmenter.predict(request, tta=4)
    ensemble, alone = segmenter.head, []
    for member in ensemble.members:  # what each comes to alone, the whole way
        segmenter.head = member
        alone.append(torch.from_numpy(segmenter.predict(request, tta=4).probabilities))
    members = torch.stack(alone)
    np.testing.assert_allclose(prediction.probabilities, members.mean(0), atol=1e-5)
    np.testing.assert_allclose(prediction.uncertainty, mutual_information(members), atol=1e-5)
    assert prediction.uncertainty.max() > 1e-3
    np.testing.assert_array_equal(prediction.mask > 0, prediction.probabilities[1] > prediction.probabilities[0])


@pytest.mark.parametrize(("ensemble", "kind"), [(1, "predictive_entropy"), (2, "mutual_information")])
def test_maps_of_uncertainty_are_written_read_back_and_removed(training, extraction, ensemble, kind):
    training = replace(training, ensemble=ensemble, epochs=1)
    train_head(training)
    config = PredictConfig(
        training.run, extraction.data.parent / "test0.png", training.run / "masks", uncertainty=True, device="cpu"
    )
    predict(config)
    grey = np.array(Image.open(config.out / "test0_uncertainty.png"))
    prediction = Segmenter.load(training.run, device="cpu").predict(config.images)
    assert (grey.dtype, grey.shape) == (np.uint16, (20, 24))
    np.testing.assert_allclose(np.log(2) * (grey / 65535) ** 2, prediction.uncertainty, atol=1e-4)
    record = json.loads((config.out / "predictions.json").read_bytes())["masks"]["test0"]
    assert record["uncertainty"] == kind
    predict(replace(config, uncertainty=False))
    assert sorted(path.name for path in config.out.iterdir()) == ["command.json", "predictions.json", "test0.png"]


def test_an_image_named_like_a_map_of_uncertainty_is_refused(training, extraction, tmp_path):
    train_head(replace(training, epochs=1))
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "a_uncertainty.png"):
        (folder / name).write_bytes((extraction.data.parent / "test0.png").read_bytes())
    with pytest.raises(DataError, match=r"would have one name; rename the images:\n  - a_uncertainty\.png of a"):
        predict(PredictConfig(training.run, folder, tmp_path / "masks", uncertainty=True, device="cpu"))
