"""Scripts of release/ as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

RELEASE = Path(__file__).resolve().parents[2] / "release"


@pytest.fixture
def load_script(monkeypatch) -> Callable[[str], ModuleType]:
    """Gives `load_script("check_files")`: the module of release/check_files.py."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"release_{name}", RELEASE / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load
