"""Limits of size: functions of 40 lines, modules of 350."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted(path for folder in ("cache", "stages", "pipeline") for path in (ROOT / folder).rglob("*.py"))
PATHS += sorted(ROOT.glob("*.py"))
MOST_LINES, MOST_OF_A_FUNCTION = 350, 40


def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in PATHS}


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_functions_are_short():
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - min([node.lineno, *(one.lineno for one in node.decorator_list)]) >= MOST_OF_A_FUNCTION
    ]
    assert long == []


def test_modules_can_be_read_in_one_go():
    assert [path for path in PATHS if lines_of(path) > MOST_LINES] == []
