"""The benchmarks as modules: they are scripts, which import those beside them by their bare names."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def _no_scripts_left(monkeypatch):
    before = set(sys.modules)
    for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false")):  # which some of them set
        monkeypatch.setenv(name, value)
    yield
    scripts = {path.stem for path in BENCHMARKS.rglob("*.py")}
    for name in (set(sys.modules) - before) & scripts:
        del sys.modules[name]


@pytest.fixture
def benchmark_module(monkeypatch, _no_scripts_left):
    """Gives `benchmark_module(folder, name)`: a benchmark, imported as when it is run."""

    def load(folder, name):
        monkeypatch.syspath_prepend(str(BENCHMARKS / folder))
        return importlib.import_module(name)

    return load


@pytest.fixture
def run_benchmark(monkeypatch, _no_scripts_left):
    """Gives `run_benchmark(path, *arguments)`: runs a benchmark in this process, where torch is imported already."""

    def run(path, *arguments):
        monkeypatch.syspath_prepend(str(path.parent))
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")

    return run
