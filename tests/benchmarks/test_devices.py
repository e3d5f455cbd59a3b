"""`benchmarks/devices.py`: a benchmark names its device and waits for it; the paper's UNet has its true size."""

import pytest
import torch


@pytest.fixture
def devices(benchmark_module):
    return benchmark_module("", "devices")


@pytest.mark.parametrize(("device", "waits"), [("cpu", []), ("cuda", ["cuda"] * 2), ("cuda:1", ["cuda:1"] * 2)])
def test_a_clock_waits_for_the_device_before_and_after(devices, monkeypatch, device, waits):
    order = []
    monkeypatch.setattr(torch.cuda, "synchronize", order.append)
    result, seconds = devices.timed(lambda: order.append("work") or 7, device)
    assert order == [*waits[:1], "work", *waits[1:]]
    assert result == 7
    assert seconds > 0


@pytest.mark.parametrize(("channels", "n_parameters"), [(256, 552_814_086), (64, 34_615_686)])
def test_the_papers_unet_has_its_size(benchmark_module, channels, n_parameters):
    with torch.device("meta"):
        model = benchmark_module("speed", "random_unets").adm_unet(256, channels)
    assert sum(weight.numel() for weight in model.parameters()) == n_parameters


DEVICE = {"pretrain": [], "ablate": ["cache"], "train": ["cache"], "extract": ["early-exit"]}


@pytest.mark.parametrize("name", DEVICE)
def test_benchmarks_of_models_name_their_device(benchmark_module, monkeypatch, name):
    module = benchmark_module("speed", name)
    for given, expected in ((["--device", "cuda:1"], "cuda:1"), ([], "cpu")):
        monkeypatch.setattr("sys.argv", [name, *DEVICE[name], *given])
        assert module.parse_arguments().device == expected
