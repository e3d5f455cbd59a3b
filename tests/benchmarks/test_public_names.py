"""The benchmarks are clients of the public API, and each says how it is called."""

import ast
from pathlib import Path

import pytest

import textdiff

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = sorted(BENCHMARKS.rglob("*.py"))
PUBLIC_MODULES = {
    "textdiff.components",
    "textdiff.config",
    "textdiff.errors",
    "textdiff.cache.reader",
    "textdiff.cache.verify",
    "textdiff.stages.unet",
}


def name_of(path):
    return path.relative_to(BENCHMARKS).as_posix()


def internal_imports(path):
    """What a benchmark imports of the package beside the public names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "textdiff")
        elif isinstance(node, ast.ImportFrom) and node.module == "textdiff":
            yield from (alias.name for alias in node.names if alias.name not in textdiff.__all__)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("textdiff."):
            yield from () if node.module in PUBLIC_MODULES else (node.module,)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_benchmarks_import_public_names_alone(path):
    assert list(internal_imports(path)) == []


SCRIPTS = [path for path in FILES if "ArgumentParser(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_every_benchmark_explains_itself(path, run_benchmark, capsys):
    with pytest.raises(SystemExit) as ended:
        run_benchmark(path, "--help")
    assert ended.value.code == 0
    assert f"python benchmarks/{name_of(path)}" in capsys.readouterr().out
