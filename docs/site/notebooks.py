"""Notebooks, executed anew for every build, as Markdown: the site's theme, search and checks then hold for them too."""

from __future__ import annotations

import base64
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbclient
import nbformat

SWITCH = "NOTEBOOKS"
"""Environment variable; with 0 notebooks are shown as they lie, to look at text quickly."""
TIMEOUT_S = 300
"""Of one cell; all cells of all notebooks are to take less than that."""
N_AT_ONCE = 2
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Executed:
    """A notebook as a page."""

    markdown: str
    pictures: dict[str, bytes]
    """File beside the page → PNG."""


def execute_all(paths: list[Path]) -> list[Executed]:
    """Execute notebooks, two at a time, each in an empty folder of its own.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the message holds the cell and its traceback.
    """
    # Two kernels with as many threads as cores each would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        return list(pool.map(execute, paths))


def execute(path: Path) -> Executed:
    """Execute one notebook and turn it into Markdown."""
    notebook = nbformat.read(path, as_version=4)
    if os.environ.get(SWITCH) != "0":
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            nbclient.NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources).execute()
    return to_markdown(notebook, path)


def to_markdown(notebook: Any, path: Path) -> Executed:  # noqa: ANN401
    """Cells in order: text as it is, code as a block, and what it put out."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for place, output in enumerate(_kept(cell.outputs)):
            name = f"{path.stem}-{number}-{place}.png"
            parts.append(_shown(output, name, pictures, _description(cell)))
    download = f"[Download this notebook](../source/docs/tutorials/{path.name}): it runs as it stands."
    title, *rest = parts
    return Executed("\n\n".join([title, download, *filter(None, rest)]) + "\n", pictures)


def _description(cell: Any) -> str:  # noqa: ANN401
    """The text that stands for the cell's pictures, of its first line `# Figure: ...`."""
    first = cell.source.splitlines()[0] if cell.source else ""
    return first.removeprefix("# Figure:").strip() if first.startswith("# Figure:") else "Figure made by the code above"


def _kept(outputs: list[Any]) -> list[Any]:
    """Outputs without progress and warnings; lines that follow one another are one output."""
    kept: list[Any] = []
    for one in outputs:
        is_text = one.output_type == "stream"
        is_progress = one.output_type == "display_data" and "image/png" not in one.data
        if is_progress or (is_text and one.name == "stderr"):
            continue
        if is_text and kept and kept[-1].output_type == "stream":
            kept[-1].text += one.text
        else:
            kept.append(one)
    return kept


def _shown(output: Any, name: str, pictures: dict[str, bytes], description: str) -> str:  # noqa: ANN401
    """One output: a picture, a table or text."""
    if output.output_type == "stream":
        return _as_text(output.text)
    data = output.get("data", {})
    if "image/png" in data:
        pictures[name] = base64.b64decode(data["image/png"])
        return f"![{description}]({name})"
    if "text/html" in data:
        return f'<div class="output" markdown="0">\n{_without_style(data["text/html"])}\n</div>'
    return _as_text(data.get("text/plain", ""))


def _without_style(html: str) -> str:
    """A table without the looks that pandas gives it: it has those of the site."""
    return re.sub(r"<style.*?</style>| border=\"1\" class=\"dataframe\"| style=\"[^\"]*\"", "", html, flags=re.DOTALL)


def _as_text(text: str) -> str:
    clean = ANSI.sub("", text).rstrip()
    return f"```{{ .text .output }}\n{clean}\n```" if clean else ""
