"""TensorBoard: a scalar an epoch beside `metrics.jsonl`, and one clear error where it is not installed."""

import json
from dataclasses import replace

import pytest

from textdiff.errors import ConfigError
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.training import tensorboard as training_log
from textdiff.pipeline.training.train import train_head


@pytest.fixture
def training(tiny_cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    return TrainConfig(
        tiny_cache, tmp_path / "run", head="pixel", text="true", epochs=2, device="cpu", log="tensorboard", **sizes
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_what_the_metrics_have(training):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_head(training)
    metrics = [json.loads(line) for line in (training.run / "metrics.jsonl").read_text().splitlines()]
    events = accumulator.EventAccumulator(str(training.run / "tensorboard")).Reload()
    for name in ("loss", "val_dice_sampled"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in metrics]
    assert "log" not in json.loads((training.run / "config.json").read_bytes())["train"]


def test_without_it_one_error_says_how_to_install_it_and_nothing_is_written(training, monkeypatch):
    monkeypatch.setattr(training_log, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"--log tensorboard: .* not installed; run `pip install 'textdiff\[tensorboard\]'`"
    ):
        train_head(training)
    assert not training.run.exists()


def test_no_log_writes_no_folder(training):
    train_head(replace(training, log=None))
    assert not (training.run / "tensorboard").exists()
