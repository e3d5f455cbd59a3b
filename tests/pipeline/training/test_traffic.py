"""What training asks of a GPU: bytes and waits of a step, on the pretend device, at the sizes of the paper's UNet."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pretend_device import pretend_device

from textdiff.cache.format.maps import StoredMaps
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.head_inputs import inputs
from textdiff.pipeline.head_inputs.inputs import CachedFeatures
from textdiff.pipeline.head_inputs.splits import Split
from textdiff.pipeline.runtime.transfer import to_device
from textdiff.pipeline.training import objectives
from textdiff.pipeline.training import trainer as trainer_module
from textdiff.pipeline.training.objectives import OBJECTIVES
from textdiff.pipeline.training.trainer import Trainer
from textdiff.stages.seeds import named_generator

QATA = {4: (16, 16, 1024), 6: (32, 32, 512), 8: (64, 64, 512), 12: (128, 128, 256)}
"""Blocks of the paper's UNet at 256 pixels, at three timesteps: 42.5 MB an image."""


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "images_per_step": 2}
    return TrainConfig(tiny_cache, tmp_path / "run", text="true", epochs=1, device="cpu", precision="float32", **sizes)


@pytest.fixture
def in_turn(monkeypatch):
    """Steps are drawn between steps, so that each can be counted by itself."""
    for module in (trainer_module, objectives, inputs):
        monkeypatch.setattr(module, "ahead", lambda load, items, device: map(load, items))


def one_epoch(config):
    """The epoch's row, and the traffic of the last step's two halves and of the epoch, on the pretend device."""
    with pretend_device() as traffic:
        trainer = Trainer.from_config(replace(config, device="cuda"), FeatureReader(config.cache))
        start, parts = traffic.copy(), {}

        def counted(name):
            call = getattr(Trainer, name)

            def counting(*args):
                before = traffic.copy()
                result = call(*args)
                parts[name] = traffic.since(before)
                return result

            return counting

        with pytest.MonkeyPatch.context() as patch:
            for name in ("draw", "learn"):
                patch.setattr(Trainer, name, counted(name))
            row = trainer.run_epoch()
        return row, parts["draw"], parts["learn"], traffic.since(start)


@pytest.mark.parametrize(
    ("head", "ensemble", "kept"),
    [("pixel", 2, True), ("context", 1, True), ("paper", 1, True), ("pixel", 1, False), ("paper", 1, False)],
)
def test_a_step_waits_for_nothing_and_a_kept_row_is_not_copied_again(
    training, in_turn, monkeypatch, head, ensemble, kept
):
    config = replace(training, head=head, ensemble=ensemble)
    if not kept:
        monkeypatch.setattr(inputs, "KEPT_SHARE", 0.0)
    row, draw, learn, epoch = one_epoch(config)
    assert draw.waits.total() == learn.waits.total() == learn.copies.total() == 0, f"{draw}\n{learn}"
    assert (draw.to_device.total() < 4_000) == kept
    assert epoch.waits.total() <= 3 + 4 * ensemble + 4 * (head == "paper"), epoch  # most of them of the check
    expected = Trainer.from_config(config, FeatureReader(config.cache)).run_epoch()
    assert row == pytest.approx(expected, rel=1e-4)


def test_steps_that_are_drawn_ahead_are_those_that_are_drawn_in_turn(training):
    config = replace(training, head="pixel", images_per_step=4)
    with pretend_device():
        ahead = Trainer.from_config(replace(config, device="cuda"), FeatureReader(config.cache)).run_epoch()
    assert ahead == pytest.approx(Trainer.from_config(config, FeatureReader(config.cache)).run_epoch(), rel=1e-4)


class PapersCache:
    """A cache of zeros with the shapes of the paper's UNet."""

    manifest = SimpleNamespace(
        block_shapes=QATA,
        features=SimpleNamespace(image_size=256, tile=None),
        classes={"classes": {"0": "background", "255": "foreground"}},
    )
    table = SimpleNamespace(ignore=255)

    def fetch(self, *_, **__):
        """Nothing is to be fetched."""

    def stored(self, block, timestep, row):
        return StoredMaps(np.zeros(QATA[block], np.float16), None)

    def filters(self, row):
        return np.zeros((256, 256, inputs.N_FILTERS), np.float16)

    def labels(self, row):
        return np.zeros((256, 256), np.uint8)


@pytest.mark.parametrize(("head", "most"), [("pixel", 60e6), ("context", 25e6)])
def test_a_step_of_the_papers_unet_sends_what_is_sampled(head, most, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "KEPT_SHARE", 0.0)
    rows = [
        SimpleNamespace(id=str(i), parent=str(i), row=i, size=(256, 256), tile=None, view=0, weight=1.0)
        for i in range(8)
    ]
    with pretend_device() as traffic:
        tokens, mask = torch.zeros(1, 20, 768).to("cuda"), torch.ones(1, 20, dtype=torch.bool).to("cuda")
        texts = dict.fromkeys((row.id for row in rows), 0)
        data = CachedFeatures(PapersCache(), tuple(QATA), (50, 150, 250), texts, tokens, mask, "cuda", filters=True)
        config = TrainConfig(tmp_path, tmp_path, head=head, text="true")
        objective = OBJECTIVES[head](data, Split(tuple(rows), tuple(rows), (), ""), config)
        before = traffic.copy()
        to_device(objective.draw(rows, named_generator(0, "step")), "cuda")
    step = traffic.since(before)
    assert 0.8 * most < step.to_device.total() < most
    assert not step.waits
