"""Results in notebooks and as frames."""

import sys

import pytest

from textdiff.errors import ConfigError
from textdiff.pipeline.runtime.results import Result, table


class Findings(Result):
    """Twelve rows."""

    def lines(self):
        return ["a < b"]

    def to_rows(self):
        return [{"name": f"<{i}>", "dice": i / 3, "box": (1, 2.5), "text": None} for i in range(12)]


def test_print_shows_the_lines_and_a_notebook_lines_and_the_first_rows_escaped():
    assert str(Findings()) == "a < b"
    html = Findings()._repr_html_()
    assert html.startswith("<pre>a &lt; b</pre><details><summary>12 rows</summary><table>")
    assert "<tr><td>&lt;1&gt;</td><td>0.3333</td><td>1, 2.5000</td><td></td></tr>" in html
    assert html.count("<tr>") == 11
    assert "and 2 more rows" in html


def test_a_table_has_the_columns_of_all_rows():
    shown = table([{"a": 1}, {"a": 2, "b": "<3"}])
    assert "<tr><th>a</th><th>b</th></tr>" in shown
    assert "<tr><td>1</td><td></td></tr><tr><td>2</td><td>&lt;3</td></tr>" in shown


def test_without_pandas_a_frame_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="a frame needs pandas, which is not installed: pip install pandas"):
        Findings().to_frame()
