"""The table of warnings in docs/data.md against the code."""

import re
from pathlib import Path

from textdiff.pipeline.data.warnings import WARNINGS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "data.md"


def test_the_documentation_lists_every_warning_with_its_meaning_and_what_to_do():
    table = PAGE.read_text(encoding="utf-8").partition("\n## Warnings\n")[2]
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \| (.+) \|$", table, re.MULTILINE)
    assert [(name, says) for name, says, _ in rows] == [*WARNINGS.items()]
    assert list(WARNINGS) == sorted(WARNINGS)
