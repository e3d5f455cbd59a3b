"""Prediction on the pretend device: the CPU's masks; activations stay there, and images are read in another thread."""

import shutil
import threading
from dataclasses import replace

import pytest
from pretend_device import pretend_device

from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.prediction import live_features
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.training.train import train_head

pytestmark = pytest.mark.slow


def test_activations_stay_on_the_device_and_images_are_read_ahead(tiny_cache, extraction, tmp_path, monkeypatch):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 16, "epochs": 1}
    train_head(
        TrainConfig(tiny_cache, tmp_path / "run", head="pixel", text="true", device="cpu", precision="float32", **sizes)
    )
    images = tmp_path / "images"
    images.mkdir()
    for name in ("train0", "val0", "test0"):
        shutil.copy(extraction.data.parent / f"{name}.png", images)
    on_cpu = PredictConfig(tmp_path / "run", images, tmp_path / "cpu", device="cpu", text="the nuclei")
    readers, read = set(), live_features.read_upright

    def remembered(*args):
        readers.add(threading.current_thread())
        return read(*args)

    predict(on_cpu)
    monkeypatch.setattr(live_features, "read_upright", remembered)
    with pretend_device() as traffic:
        predict(replace(on_cpu, out=tmp_path / "device", device="cuda"))
    masks = {path.name: path.read_bytes() for path in on_cpu.out.glob("*.png")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "device").glob("*.png")} == masks
    assert len(masks) == 3
    sent_back = {line.partition(":")[0] for line in traffic.to_host}
    assert sent_back == {"pipeline/prediction/predict.py", "stages/text/encoder.py"}  # masks, and texts' tokens
    assert threading.main_thread() not in readers
    assert readers
