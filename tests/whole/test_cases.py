"""The tests that docs/cases.md names are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "cases.md").read_text(encoding="utf-8"))


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_case_has_its_tests():
    assert len(NAMED) > 50
    assert [(file, name) for file, name in NAMED if name and name not in functions(ROOT / file)] == []
    assert all((ROOT / file).exists() for file, _ in NAMED)


def test_every_row_names_a_test():
    rows = re.findall(r"^\| \d+ \|.*$", (ROOT / "docs" / "cases.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 42 + 10
    assert all("`tests/" in row.rsplit(" | ", 1)[1] for row in rows)
