"""The import rules, from the syntax trees: cli → pipeline → {stages, cache}, one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FROZEN_MODELS = {"diffusers", "open_clip", "transformers"}
STAGE_TWO = (
    "seeds", "attention", "head", "context_head", "crops", "jitter", "paper_head", "pixels", "place", "objective",
    "metrics", "calibration", "surfaces", "instances", "ensemble", "uncertainty", "selection", "occlusion", "words",
)  # fmt: skip
STAGE_TWO_PIPELINE = (
    "head_data", "crop_batches", "learners", "fit", "splits", "runs", "train", "ablate", "evaluate", "scoring",
    "intervals", "tally", "evaluations", "compare", "strata", "suggest", "turning", "views", "side_words",
    "side_vocabulary", "windows",
    "thumbnails", "training_log", "commands", "report_page", "report_charts", "report_cases", "report_parts",
    "report_train", "report_evaluate", "report_ablate",
    "ablation", "cells", "folds", "journal", "only_writer", "paired", "shared_reads", "side_by_side", "subsets",
    "ablate_config", "ray_session", "ray_cells", "memory",
)  # fmt: skip


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Top-level names of what a module imports; siblings and parents as `textdiff.<package>`."""
    package = path.parent.name if path.parent != ROOT else ""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            inside = package if node.level == 1 and package else ""
            parts = [part for part in (inside, *(node.module or "").split(".")) if part]
            heads = parts[:1] or [alias.name for alias in node.names]
            found |= {f"textdiff.{head}" for head in heads}
    return found


def modules(folder: str) -> list[Path]:
    paths = sorted((ROOT / folder).glob("*.py"))
    assert len(paths) > 5
    return paths


def test_imports_are_read_correctly(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import a.b\nfrom c.d import e\nfrom ..cache.table import f\nfrom .here import g\n")
    assert imports(module) == {"a", "c", "textdiff.cache", f"textdiff.{tmp_path.name}"}


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("cache", {"torch", "typer", "textdiff.stages", "textdiff.pipeline", "textdiff.cli", *FROZEN_MODELS}),
        ("stages", {"typer", "zarr", "h5py", "textdiff.cache", "textdiff.pipeline", "textdiff.cli"}),
        ("pipeline", {"typer", "zarr", "h5py", "fsspec", "textdiff.cli"}),
    ],
)
def test_no_layer_imports_what_lies_above_it(folder, forbidden):
    offences = {path.name: sorted(imports(path) & forbidden) for path in modules(folder)}
    assert {name: names for name, names in offences.items() if names} == {}


def test_stage_two_never_names_the_frozen_models():
    for name in STAGE_TWO:
        assert imports(ROOT / "stages" / f"{name}.py") & FROZEN_MODELS == set(), name


def test_stage_two_of_the_pipeline_imports_no_module_that_loads_frozen_models():
    for name in STAGE_TWO_PIPELINE:
        text = (ROOT / "pipeline" / f"{name}.py").read_text(encoding="utf-8")
        for module in ("stages.unet", "stages.text", "stage_one", "extract", "segmenter"):
            forms = (f"import {module}", f"from ..{module} ", f"from .{module} ")
            assert [form for form in forms if form in text] == [], name


def test_the_command_line_imports_nothing_heavy_at_the_top():
    heavy = {"torch", "zarr", "numpy", "matplotlib", "h5py", "fsspec", *FROZEN_MODELS}
    light = [
        ROOT / "cli.py",
        ROOT / "errors.py",
        ROOT / "pipeline" / "config.py",
        ROOT / "pipeline" / "head_config.py",
        ROOT / "pipeline" / "ablate_config.py",
        ROOT / "pipeline" / "explain_config.py",
        ROOT / "pipeline" / "predict_config.py",
        ROOT / "pipeline" / "merge_config.py",
        ROOT / "pipeline" / "export_config.py",
        ROOT / "pipeline" / "progress.py",
        ROOT / "pipeline" / "failures.py",
        ROOT / "pipeline" / "interrupts.py",
        ROOT / "cache" / "location.py",
        ROOT / "cache" / "places.py",
        ROOT / "cache" / "remote.py",
    ]
    for path in light:
        assert imports(path, top_level_only=True) & heavy == set(), path


def test_stages_print_nothing_and_no_file_is_named_for_nothing():
    for path in modules("stages"):
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in calls, path
    for folder in ("", "cache", "stages", "pipeline", "tests"):
        assert not {path.name for path in (ROOT / folder).glob("*.py")} & {"utils.py", "helpers.py"}, folder
