"""Arithmetic that a device computes natively, by what torch says of it."""

import platform

import pytest
import torch

from textdiff.pipeline.runtime.device import computes_bfloat16, resolve_precision


@pytest.fixture
def processor(monkeypatch):
    """Gives `processor(machine, **answers)`: a CPU of which torch answers so."""

    def be(machine, *, avx512_bf16=False, amx=False, onednn=True, arm_bf16=False):
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: arm_bf16)

    return be


@pytest.mark.parametrize(
    ("machine", "answers", "native"),
    [
        ("x86_64", {}, False),
        ("x86_64", {"arm_bf16": True}, False),  # oneDNN says so of every x86 with AVX-512, and emulates it
        ("x86_64", {"avx512_bf16": True}, True),
        ("AMD64", {"amx": True}, True),
        ("x86_64", {"avx512_bf16": True, "onednn": False}, False),
        ("aarch64", {}, False),
        ("aarch64", {"arm_bf16": True}, True),
    ],
)
def test_auto_is_bfloat16_where_the_processor_computes_it(processor, machine, answers, native):
    processor(machine, **answers)
    assert computes_bfloat16("cpu") is native
    assert resolve_precision("auto", "cpu") == ("bfloat16" if native else "float32")


def test_a_precision_that_was_asked_for_is_taken(processor):
    processor("x86_64", avx512_bf16=True)
    assert resolve_precision("float32", "cpu") == "float32"
    processor("x86_64")
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_of_cuda_devices_those_from_ampere_on_compute_bfloat16(monkeypatch, capability, native):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert computes_bfloat16("cuda:0") is native


def test_mps_computes_in_float32():
    assert resolve_precision("auto", "mps") == "float32"
