"""A model that gives NaN or needs more memory than there is is told, and the command goes on afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forked_commands import HEADS_KEPT, WORKS, begin, contents, go_on, run

from textdiff.stages.unet.ddpm import Pretraining
from textdiff.stages.unet.recorder import UNetRecorder

pytestmark = pytest.mark.slow


def nan_from_the_unet() -> None:
    record = UNetRecorder.record

    def spoilt(self, image, *rest):
        maps = record(self, image, *rest)
        return {
            block: torch.where(torch.arange(maps[block].shape[1])[:, None, None, None] == 1, torch.nan, maps[block])
            for block in maps
        }

    UNetRecorder.record = spoilt


def no_memory_for_the_unet() -> None:
    def failing(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    UNetRecorder.record = failing


def nan_from_training() -> None:
    def diverged(self, steps):
        return torch.nan

    Pretraining.advance = diverged


def no_memory_for_training() -> None:
    def failing(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    torch.optim.AdamW.step = failing


def nan_from_the_optimiser() -> None:
    step = torch.optim.AdamW.step

    def spoilt(self, *given):
        for group in self.param_groups:
            for weight in group["params"]:
                weight.data.fill_(torch.nan)
        return step(self, *given)

    torch.optim.AdamW.step = spoilt


MODELS = [
    ("extract-features", nan_from_the_unet, "block 3, timestep 150, sample train1: "),
    ("extract-features", no_memory_for_the_unet, "do not fit the memory of cpu; give a smaller --batch-size"),
    ("predict", nan_from_the_unet, "activations are NaN or infinite, so that a mask would mean nothing"),
    ("predict", no_memory_for_the_unet, "do not fit the memory of cpu"),
    (
        "train-head",
        nan_from_the_optimiser,
        "the loss is not finite in epoch 1: lower --learning-rate or --weight-decay",
    ),
    ("train-head", no_memory_for_training, "out of memory (give a smaller --images-per-step or --pixels-per-image, or"),
    ("pretrain-unet", nan_from_training, "the loss is nan at step"),
    (
        "pretrain-unet",
        no_memory_for_training,
        "out of memory (give a smaller --batch-size or --crop, or another --device)",
    ),
    ("ablate-timesteps", nan_from_the_optimiser, "the loss is not finite in epoch 1"),
    ("ablate-timesteps", no_memory_for_training, f"out of memory (give another --device); {HEADS_KEPT}"),
]


@pytest.mark.parametrize(("name", "fault", "message"), MODELS)
def test_a_model_that_fails_is_told_and_ends_alike_when_it_works_again(ends, name, fault, message):
    work = WORKS[name]
    end, _ = ends(work)
    begin(work)
    code, told = run(work.arguments, fault)
    assert (code, told.count("error: ")) == (1, 1), told
    assert message in told
    assert not work.whole_with or not Path("out", work.whole_with).exists()
    assert not list(Path("out").glob("*.png"))
    if fault in (nan_from_the_unet, nan_from_training, nan_from_the_optimiser) and name != "ablate-timesteps":
        go_on(work)
        assert contents(Path("out")) == end
