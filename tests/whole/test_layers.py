"""The import rules, from the syntax trees and the folders: one direction among layers, among rooms, among modules."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("cache", "stages", "pipeline")
LEVELS = {
    "cache": {"storage": 1, "format": 2, "verify": 3, "building": 4, "hdf5": 4, "reader": 4, "export": 5},
    "stages": {
        "seeds": 1, "precision": 1, "sources": 1, "metrics": 1,
        "text": 2, "features": 2,
        "heads": 3, "unet": 3, "encoders": 3,
    },
    "pipeline": {
        "runtime": 1, "views": 1, "image_files": 1, "scoring": 1,
        "config": 2, "images": 2, "exchange": 2,
        "data": 3, "head_inputs": 3,
        "maintenance": 4, "runs": 4, "unets": 4, "manifests": 4,
        "extraction": 5, "reports": 5,
        "training": 6, "prediction": 6, "checking": 6,
        "explanation": 7,
        "evaluation": 8,
        "ablation": 9, "fitting": 9,
        "demo": 10, "labelling": 10,
        "interface": 11,
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
DECODERS = ("raster", "tiff", "dicom", "dicom_codecs", "nifti", "slides", "ngff.planes", "reading")
MOST_MODULES = 14


Sources = Mapping[str, str]
"""Full name of a module (`textdiff.cache.reader`) → its text; a package ends in `.__init__`."""


def _read() -> Sources:
    paths = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")] + [*ROOT.glob("*.py")]
    return {
        ".".join(("textdiff", *path.relative_to(ROOT).with_suffix("").parts)): path.read_text(encoding="utf-8")
        for path in paths
    }


SOURCES = _read()


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _imported(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Full names of modules, or of names in them, that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        source = ".".join((*base, *((node.module,) if node.module else ())))
        return [f"{source}.{alias.name}" for alias in node.names]
    return []


def _statements(tree: ast.Module, *, lazy: bool) -> Iterator[ast.AST]:
    """All statements, or those alone that run when a module is imported."""
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
def _targets(name: str, text: str, *, lazy: bool) -> tuple[str, ...]:
    package = tuple(name.split(".")[:-1])
    return tuple(target for node in _statements(parsed(text), lazy=lazy) for target in _imported(node, package))


def imports(sources: Sources, name: str, *, lazy: bool = True) -> set[str]:
    """Modules of ours (full names) and libraries (first names) that a module imports, packages on the way included."""
    found = set()
    for target in _targets(name, sources[name], lazy=lazy):
        parts = target.split(".")
        ours = [".".join(parts[:n]) for n in range(1, len(parts) + 1)] if parts[0] == "textdiff" else []
        found |= {known for one in ours for known in (one, f"{one}.__init__") if known in sources}
        found |= set() if ours else {parts[0]}
    return found - {name}


def closure(sources: Sources, names: Iterable[str]) -> set[str]:
    """All modules and libraries that importing some modules brings in."""
    seen, waiting = set(), list(names)
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += imports(sources, name, lazy=False) if name in sources else ()
    return seen


def room(name: str) -> tuple[str, str]:
    """Layer and room of a module: `textdiff.cache.reader` → ("cache", "reader"); ("", "") of any other."""
    _, layer, own, *_ = *name.split("."), "", "", ""
    return (layer, own) if layer in LAYERS and own != "__init__" else ("", "")


def of_rooms(*rooms: str) -> list[str]:
    return [name for name in SOURCES if room(name) in {("pipeline", one) for one in rooms}]


def offences(sources: Sources) -> list[str]:
    """Every import against the direction of layers or of rooms, and every library that a layer must not know."""
    found = []
    for name in sources:
        layer, own = room(name)
        for target in sorted(imports(sources, name)) if layer else ():
            other, theirs = room(target)
            levels = LEVELS[layer]
            if (
                target in OUTSIDE[layer] | {"textdiff.cli", "textdiff.__main__"}
                or (other not in ("", layer) and layer != "pipeline")
                or (other == layer and theirs != own and levels[theirs] >= levels[own])
            ):
                found.append(f"{name} imports {target}")
    return found


def circle(sources: Sources) -> list[str]:
    """Modules that import each other, lazy and type-only imports counted; the first circle that is there."""
    # A package's own module is imported with any of its modules, and says nothing of order.
    names = {name for name in sources if room(name)[0] and not name.endswith(".__init__")}
    try:
        TopologicalSorter({name: imports(sources, name) & names for name in names}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def stage_two(sources: Sources) -> set[str]:
    """What stage two must not reach, and does: image readers, and the libraries of stage one."""
    # For `--at native` and `--surface` alone, imported then.
    on_request = {f"textdiff.pipeline.evaluation.{name}" for name in ("mask_files", "distance_unit")}
    reached = closure(sources, {*of_rooms("training", "evaluation", "ablation")} - on_request)
    readers = {f"textdiff.pipeline.image_files.{name}" for name in DECODERS}
    unets = {name for name in reached if name.startswith(("textdiff.stages.unet", "textdiff.pipeline.extraction"))}
    return reached & (STAGE_ONE | readers) | unets


def prediction(sources: Sources) -> set[str]:
    """What `predict` must not reach, and does: trainers."""
    return {name for name in closure(sources, of_rooms("prediction")) if room(name) == ("pipeline", "training")}


def encoders_alone(sources: Sources) -> set[str]:
    """What commands on an image encoder, without a UNet, must not import, and do: seconds of a start each."""
    return closure(sources, of_rooms("extraction", "prediction", "fitting")) & STAGE_ONE


def command_line(sources: Sources) -> set[str]:
    """What the command line must not import, and does, before it knows its command."""
    return closure(sources, ["textdiff.cli", "textdiff.__main__", "textdiff.__init__"]) & HEAVY


CHECKS = (offences, circle, stage_two, prediction, encoders_alone, command_line)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_imports_go_one_way(check):
    assert not check(SOURCES)


def test_every_room_has_a_level_and_no_more_modules_than_one_sees_at_a_glance():
    rooms = {room(name) for name in SOURCES} - {("", "")}
    assert rooms == {(layer, name) for layer in LAYERS for name in LEVELS[layer]}
    folders = Counter(name.rpartition(".")[0] for name in SOURCES if not name.endswith(".__init__"))
    assert {folder: n for folder, n in folders.items() if n > MOST_MODULES} == {}


def test_no_module_needs_posix_to_be_imported():
    assert [name for name in SOURCES if imports(SOURCES, name, lazy=False) & POSIX_ONLY] == []


def test_stages_print_nothing_and_no_file_is_named_for_nothing():
    for name, text in SOURCES.items():
        calls = {
            node.func.id
            for node in ast.walk(parsed(text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert room(name)[0] != "stages" or "print" not in calls, name
        assert name.rpartition(".")[2] not in {"utils", "helpers"}
    assert not {path.name for path in (ROOT / "tests").rglob("*.py")} & {"utils.py", "helpers.py"}


PLANTED = (
    (offences, "cache.reader", "from ..stages.seeds import named_seed"),
    (offences, "pipeline.scoring.counts", "def f():\n    from ..demo import demo"),
    (offences, "pipeline.demo.demo", "from ... import cli"),
    (offences, "cache.reader", "import torch"),
    (circle, "stages.seeds", "if TYPE_CHECKING:\n    from .unet.noise import x"),
    (circle, "pipeline.image_files.source", "def f():\n    from .tiff import x"),
    (stage_two, "pipeline.config.training", "from ..data.inspection import x"),
    (stage_two, "stages.heads.base", "import diffusers.models"),
    (prediction, "pipeline.runs.heads", "from ..training.trainer import Trainer"),
    (encoders_alone, "pipeline.unets.record", "import diffusers"),
    (command_line, "pipeline.runtime.progress", "import numpy as np"),
)


@pytest.mark.parametrize(("check", "name", "line"), PLANTED)
def test_a_planted_import_is_noticed(check, name, line):
    planted = f"textdiff.{name}"
    assert not check(SOURCES)
    assert check({**SOURCES, planted: f"{SOURCES[planted]}\n{line}\n"})
