"""Arithmetic of CUDA devices, as torch is told it; no GPU is needed to tell it."""

import pytest
import torch
from cuda_settings import restored, settings

from textdiff.pipeline.runtime import cuda, device
from textdiff.pipeline.runtime.conditions import conditions_of, differences

PROMISED = dict(zip(settings(), (False, False, False, True, False, False, True, False, ":4096:8"), strict=True))


@pytest.fixture
def _settings_restored(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    with restored():
        yield


@pytest.fixture
def _two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1"])
@pytest.mark.usefixtures("_settings_restored", "_two_gpus")
def test_a_cuda_device_computes_float32_in_float32_and_always_alike(name):
    assert settings() != PROMISED
    device.resolve_device(name)
    assert settings() == PROMISED


@pytest.mark.usefixtures("_settings_restored", "_two_gpus")
def test_the_cpu_changes_nothing():
    before = settings()
    device.resolve_device("cpu")
    assert settings() == before


@pytest.mark.usefixtures("_settings_restored", "_two_gpus")
def test_where_cublas_may_have_started_already_torch_warns_in_place_of_errors(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    device.resolve_device("cuda")
    assert settings() == PROMISED | {"errors are warnings": True}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        (None, "unknown"),
    ],
)
def test_conditions_of_a_gpu_hold_its_model_cudnn_driver_and_tf32(monkeypatch, tmp_path, text, version):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92400)
    monkeypatch.setattr(cuda, "DRIVER", tmp_path / "version")
    if text:
        cuda.DRIVER.write_text(text)
    found = conditions_of("cuda:0")
    assert (found["device"], found["cudnn"], found["driver"]) == ("NVIDIA H100 80GB HBM3", 92400, version)
    assert found["tf32"] is torch.backends.cudnn.allow_tf32
    assert {"cudnn", "driver", "tf32"}.isdisjoint(conditions_of("cpu"))


def test_differences_are_of_what_both_recorded():
    before = {"device": "NVIDIA A100", "threads": 8, "torch": "2.6.0", "cpu_capability": "AVX2"}
    now = {"device": "NVIDIA H100", "threads": 8, "torch": "2.6.0", "cpu_capability": "AVX512", "cudnn": 92400}
    assert differences(before, now) == "device NVIDIA A100, now NVIDIA H100; cpu capability AVX2, now AVX512"
    assert differences(before, before) == ""
    assert differences({}, now) == ""
