"""Tests see no accelerator, whatever the machine has, unless they are asked for those that need one."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerators import asks_for_gpu, hide

from textdiff.pipeline.runtime.device import resolve_device


def test_auto_is_the_cpu():
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not torch.cuda.is_available()
    assert resolve_device("auto") == "cpu"


def test_processes_that_a_test_starts_see_no_cuda_either():
    shown = subprocess.run(
        [sys.executable, "-c", "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.strip() == "''"


def test_mps_is_hidden_on_a_mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == "mps"
    hide()
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("gpu", True), ("gpu and not slow", True), ("not slow and gpu", True),
        ("", False), ("slow", False), ("not gpu", False), ("not slow and not gpu", False),
    ],
)  # fmt: skip
def test_the_marker_is_asked_for_by_its_name(expression, asked):
    assert asks_for_gpu(expression) is asked


@pytest.mark.parametrize(("expression", "seen"), [("not slow", ""), ("gpu", "3")])
def test_pytest_hides_cuda_but_for_the_marker(request, monkeypatch, expression, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    conftest = request.config.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    conftest.pytest_configure(SimpleNamespace(option=SimpleNamespace(markexpr=expression)))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
