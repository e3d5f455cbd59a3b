"""Signatures of the functions that are commands, for mkdocstrings: parameters come from configs at run time."""

from __future__ import annotations

import ast
import inspect
import shutil
from pathlib import Path
from typing import Any

import griffe

from textdiff.pipeline.interface import functions

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / ".build" / "reference" / "textdiff"
"""Where mkdocstrings reads the package: under the import name, and without the environment that lies beside it."""


def copy_package() -> None:
    """Copy the sources to where mkdocstrings reads them."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for source in [*ROOT.glob("*.py*"), *(one for room in ("cache", "stages", "pipeline") for one in _sources(room))]:
        target = PACKAGE / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, target)


def _sources(room: str) -> list[Path]:
    return [path for path in (ROOT / room).rglob("*.py") if "node_modules" not in path.parts]


class CommandSignatures(griffe.Extension):
    """Gives each command's function the parameters of the stub, and the docstring that it has at run time."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:  # noqa: ANN401
        """Replace what the source says of a function of a config and a progress."""
        if func.path not in _COMMANDS:
            return
        made, types = _COMMANDS[func.path], _types(func.name)
        given = inspect.signature(made).parameters.values()
        func.parameters = griffe.Parameters(*(_parameter(one, types[one.name]) for one in given))
        func.docstring = griffe.Docstring(inspect.getdoc(made) or "", parent=func, parser=griffe.Parser.google)


_COMMANDS = {f"{functions.__name__}.{one.__name__}": one for one in functions.COMMANDS}
_STUB = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
_KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


def _types(name: str) -> dict[str, str]:
    """Parameter → its type as the stub has it, where the function takes single settings."""
    *_, node = [one for one in _STUB.body if isinstance(one, ast.FunctionDef) and one.name == name]
    given = [*node.args.args, *node.args.kwonlyargs]
    return {one.arg: ast.unparse(one.annotation).replace("_Path", "str | PathLike") for one in given if one.annotation}


def _parameter(one: inspect.Parameter, annotation: str) -> griffe.Parameter:
    default = None if one.default is inspect.Parameter.empty else _shown(one.default)
    return griffe.Parameter(one.name, annotation=annotation, kind=_KINDS[one.kind], default=default)


def _shown(default: object) -> str:
    return f'"{default}"' if isinstance(default, Path | str) else repr(default)
