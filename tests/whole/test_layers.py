"""The import rules, from the syntax trees and the folders: one direction among layers, among rooms, among modules."""

import ast
from collections.abc import Iterable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("cache", "stages", "pipeline")
LEVELS = {
    "cache": {"storage": 1, "format": 2, "verify": 3, "building": 4, "hdf5": 4, "reader": 4, "export": 5},
    "stages": {"seeds": 1, "sources": 1, "metrics": 1, "text": 2, "features": 2, "heads": 3, "unet": 3},
    "pipeline": {
        "runtime": 1, "views": 1, "images": 1, "scoring": 1,
        "config": 2,
        "data": 3, "head_inputs": 3,
        "maintenance": 4, "runs": 4, "unets": 4,
        "extraction": 5, "reports": 5,
        "training": 6, "prediction": 6,
        "explanation": 7,
        "evaluation": 8,
        "ablation": 9,
        "demo": 10,
    },
}  # fmt: skip
"""A room imports rooms of lower levels alone."""
OUTSIDE = {
    "cache": {"torch", "diffusers", "open_clip", "transformers", "timm", "typer"},
    "stages": {"typer", "zarr", "h5py", "fsspec"},
    "pipeline": {"typer", "zarr", "h5py", "fsspec"},
}
"""Libraries that a layer does not know."""
STAGE_ONE = {"diffusers", "open_clip", "transformers", "timm"}
HEAVY = {"torch", "numpy", "zarr", "h5py", "fsspec", "matplotlib", "scipy", "sklearn"} | STAGE_ONE
POSIX_ONLY = {"fcntl", "resource", "termios", "pwd", "grp"}
MOST_MODULES = 14


@cache
def modules(root: Path) -> dict[str, Path]:
    """Name (`textdiff.cache.reader`) → file, of the whole package."""
    paths = [path for layer in LAYERS for path in (root / layer).rglob("*.py")]
    paths += [path for path in root.glob("*.py") if path.name != "setup.py"]
    return {_name(root, path): path for path in paths}


def _name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(("textdiff", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _imported(node: ast.AST, package: tuple[str, ...]) -> Iterable[str]:
    """Full names of modules, or of names in them, that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        source = ".".join((*base, *((node.module,) if node.module else ())))
        return [f"{source}.{alias.name}" for alias in node.names]
    return ()


def _statements(tree: ast.Module, *, lazy: bool) -> Iterable[ast.AST]:
    """All statements, or those that run when a module is imported."""
    if lazy:
        yield from ast.walk(tree)
        return
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


@cache
def imports(root: Path, name: str, *, lazy: bool = True) -> frozenset[str]:
    """Modules of ours (full names) and libraries (first names) that a module imports; packages on the way included."""
    path, found = modules(root)[name], set()
    package = tuple(name.split(".")) if path.name == "__init__.py" else tuple(name.split(".")[:-1])
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")), lazy=lazy):
        for target in _imported(node, package):
            if target.split(".")[0] != "textdiff":
                found.add(target.split(".")[0])
                continue
            parts = target.split(".")
            ours = [".".join(parts[:n]) for n in range(2, len(parts) + 1)]
            found |= {one for one in ours if one in modules(root)} or {"textdiff"}
    return frozenset(found - {name})


def closure(root: Path, names: Iterable[str], *, lazy: bool = False) -> set[str]:
    """All that importing modules brings in, one way or another; with `lazy`, what their functions import as well."""
    seen, waiting = set(), list(names)
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += imports(root, name, lazy=lazy) if name in modules(root) else ()
    return seen


def room(name: str) -> tuple[str, str]:
    """Layer and room of a module: `textdiff.cache.reader` → ("cache", "reader")."""
    _, layer, *rest = name.split(".")
    return layer, rest[0] if rest else ""


def inside(name: str) -> bool:
    return name.startswith("textdiff.") and name.split(".")[1] in LAYERS


def offences(root: Path) -> list[str]:
    """Every import against the direction of layers or of rooms, and every library that a layer must not know."""
    found = []
    for name in filter(inside, modules(root)):
        layer, own = room(name)
        for target in sorted(imports(root, name)):
            if target in OUTSIDE[layer] or target in {"textdiff.cli", "textdiff.__main__"}:
                found.append(f"{name} imports {target}")
            elif inside(target) and room(target)[1]:
                other, theirs = room(target)
                levels = LEVELS[layer]
                if other != layer and layer != "pipeline":
                    found.append(f"{name} imports {target}")
                elif other == layer and own and theirs != own and levels[theirs] >= levels[own]:
                    found.append(f"{name} imports {target}, which is not below it")
    return found


def circles(root: Path) -> list[tuple[str, ...]]:
    """Modules that import each other; lazy and type-only imports count."""
    graph = {name: {x for x in imports(root, name) if inside(x)} for name in modules(root) if inside(name)}
    # A package's own module is imported with any of its modules, and says nothing of order.
    packages = {name for name, path in modules(root).items() if path.name == "__init__.py"}
    graph = {name: targets - packages for name, targets in graph.items() if name not in packages}
    try:
        TopologicalSorter(graph).prepare()
    except ValueError as error:
        return [tuple(error.args[1])]
    return []


def folders() -> dict[str, int]:
    return {
        str(folder.relative_to(ROOT)): sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for layer in LAYERS
        for folder in [ROOT / layer, *(path for path in (ROOT / layer).rglob("*") if path.is_dir())]
        if any(folder.glob("*.py"))
    }


def of_rooms(*names: str) -> list[str]:
    return [name for name in modules(ROOT) if inside(name) and room(name)[1] in names and room(name)[0] == "pipeline"]


def test_imports_go_one_way():
    assert offences(ROOT) == []


def test_no_modules_import_each_other():
    assert circles(ROOT) == []


def test_every_room_has_a_level_and_no_more_modules_than_one_sees_at_a_glance():
    for layer in LAYERS:
        rooms = {room(name)[1] for name in modules(ROOT) if inside(name) and room(name)[0] == layer} - {""}
        assert rooms == set(LEVELS[layer])
    assert {folder: n for folder, n in folders().items() if n > MOST_MODULES} == {}


def test_stage_two_reaches_no_image_reader_and_no_library_of_stage_one():
    evaluation = ("evaluate", "compare", "suggest", "report", "result")
    commands = of_rooms("training", "ablation") + [f"textdiff.pipeline.evaluation.{name}" for name in evaluation]
    reached = closure(ROOT, commands)
    assert not reached & STAGE_ONE
    assert not {name for name in reached if name.startswith(("textdiff.stages.unet", "textdiff.pipeline.extraction"))}
    decoders = {"raster", "tiff", "dicom", "dicom_codecs", "nifti", "reading"}
    assert not {name for name in reached if name.startswith("textdiff.pipeline.images.")} & {
        f"textdiff.pipeline.images.{name}" for name in decoders
    }


def test_predict_reaches_no_trainer():
    reached = closure(ROOT, of_rooms("prediction"))
    assert not [name for name in reached if name.startswith("textdiff.pipeline.training")]


def test_the_command_line_imports_nothing_heavy():
    assert not closure(ROOT, ["textdiff.cli", "textdiff.__main__", "textdiff"]) & HEAVY


def test_no_module_needs_posix_to_be_imported():
    assert [name for name in modules(ROOT) if imports(ROOT, name, lazy=False) & POSIX_ONLY] == []


def test_stages_print_nothing_and_no_file_is_named_for_nothing():
    for name, path in modules(ROOT).items():
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not name.startswith("textdiff.stages") or "print" not in calls, path
        assert path.name not in {"utils.py", "helpers.py"}, path
    assert not {path.name for path in (ROOT / "tests").rglob("*.py")} & {"utils.py", "helpers.py"}


PLANTED = {
    "a layer above": ("cache/reader.py", "from ..stages.seeds import named_generator"),
    "a room above, inside a function": ("pipeline/scoring/counts.py", "def f():\n    from ..demo import demo"),
    "a library of another layer": ("cache/reader.py", "import torch"),
    "the command line": ("pipeline/demo/demo.py", "from ... import cli"),
    "a circle, for types alone": (
        "stages/seeds.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .unet.noise import x",
    ),
    "a sibling layer": ("stages/seeds.py", "from ..cache.reader import FeatureReader"),
}


@pytest.mark.parametrize(("file", "line"), PLANTED.values(), ids=PLANTED)
def test_a_planted_import_is_noticed(file, line, tmp_path):
    root = tmp_path / "textdiff"
    for name, path in modules(ROOT).items():
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        assert name
    assert offences(root) == offences(ROOT)
    modules.cache_clear(), imports.cache_clear()
    with (root / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    assert len(offences(root)) + len(circles(root)) > len(offences(ROOT))
