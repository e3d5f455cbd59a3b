"""Writer of __init__.pyi, the types of what `import textdiff` gives: `python docs/make_stub.py`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from inspect import Parameter, getsource, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from textdiff import _HOMES, _MODULES
from textdiff.cache.storage.location import Location
from textdiff.pipeline.config.presets import PRESETS
from textdiff.pipeline.config.validation import hints_of
from textdiff.pipeline.config.values import PRESET
from textdiff.pipeline.interface import functions
from textdiff.pipeline.interface.settings import CommandFunction
from textdiff.pipeline.runtime.results import Result

STUB = Path(__file__).parents[1] / "__init__.pyi"
_HEADER = """# Made by `make docs` from the configs and the functions: not to be edited.
from collections.abc import Sequence
from os import PathLike
from typing import Literal, overload

"""


def stub() -> str:
    """The whole stub, as `ruff format` leaves it."""
    classes = [f"from .{home} import {name} as {name}" for name, home in _HOMES.items() if home not in _OF_FUNCTIONS]
    modules = [_module(home, name) for name, home in {**_MODULES, "errors": "errors"}.items()]
    lines = [*modules, *classes, *_results(), "", "_Path = str | PathLike[str]", "__version__: str", ""]
    body = [line for function in functions.COMMANDS for line in _function(function)]
    text = _HEADER + "\n".join([*lines, *body]) + "\n"
    for step in (["check", "--fix-only", "--select", "I,F401"], ["format"]):
        command = [sys.executable, "-m", "ruff", *step, "--quiet", "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


_OF_FUNCTIONS = (functions.__name__.removeprefix("textdiff."),)


def _module(home: str, name: str) -> str:
    package, _, module = home.rpartition(".")
    return f"from .{package} import {module} as {name}"


def _results() -> Iterator[str]:
    """Imports of the classes that functions return, as functions.py names them for type checkers."""
    for node in ast.parse(getsource(functions)).body:
        if isinstance(node, ast.If):
            for one in node.body:
                assert isinstance(one, ast.ImportFrom)
                home = f".pipeline.{one.module}" if one.level == 2 else f".pipeline.interface.{one.module}"
                yield from (f"from {home} import {alias.name}" for alias in one.names if alias.name not in _HOMES)


def _function(function: CommandFunction[Result]) -> Iterator[str]:
    name, config, result = function.__name__, function.config.__name__, function.__annotations__["return"]
    hints = {PRESET: Literal[tuple(PRESETS)] | None, "progress": bool | None, **hints_of(function.config)}
    parameters, keywords = [], False
    for one in signature(function).parameters.values():
        if one.kind is Parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            parameters.append("*")
        parameters.append(f"{one.name}: {_type(hints[one.name])}{_default(one)}")
    for taken in (f"config: config.{config}, *, progress: bool | None = None", ", ".join(parameters)):
        yield from ("@overload", f"def {name}({taken}) -> {result}: ...")


def _type(hint: Any) -> str:  # noqa: ANN401
    """Type of a field's argument: for a path also text, for a tuple any sequence."""
    if hint is NoneType:
        return "None"
    if hint is Path or hint == Location:
        return "_Path"
    kind, arguments = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        # A location is a union itself.
        rest = [one for one in arguments if one not in get_args(Location)]
        return " | ".join([*(["_Path"] if len(rest) < len(arguments) else []), *map(_type, rest)])
    if kind is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if kind is tuple:
        return f"Sequence[{_type(arguments[0])}]"
    return str(hint.__name__)


def _default(parameter: Parameter) -> str:
    if parameter.default is Parameter.empty:
        return ""
    plain = parameter.default is None or isinstance(parameter.default, bool | int | float | str)
    return f" = {parameter.default!r}" if plain else " = ..."


def main() -> None:
    """Write the stub."""
    STUB.write_text(stub(), encoding="utf-8")
    sys.stdout.write(f"{STUB}: written\n")


if __name__ == "__main__":
    main()
