"""The benchmarks as modules: they are scripts, which import those beside them by their bare names."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Gives `benchmark_module(folder, name)`: a benchmark, imported as it is when it is run."""
    before = set(sys.modules)

    def load(folder, name):
        monkeypatch.syspath_prepend(str(BENCHMARKS / folder))
        return importlib.import_module(name)

    yield load
    scripts = {path.stem for path in BENCHMARKS.rglob("*.py")}
    for name in (set(sys.modules) - before) & scripts:
        del sys.modules[name]
