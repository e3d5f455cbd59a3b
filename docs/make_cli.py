"""Writer of docs/cli.md, whose only source is `--help`: `python docs/make_cli.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from typer import Typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from textdiff import cli

Function = Callable[..., Any]

PAGE = Path(__file__).with_name("cli.md")
REMAKE = "make docs"
_HEADER = f"""# The command line

*Made from the program by `{REMAKE}`: the texts are those of `textdiff COMMAND --help`.*

Exit codes: 0 done, 1 an explained problem, 2 wrong usage, 130 interrupted, 143 terminated
(SIGTERM, handled as Ctrl-C is). With `--json` one JSON object stands on stdout and nothing else.
"""


def page() -> str:
    """The whole reference as Markdown."""
    commands = list(_commands("textdiff", cli.app))
    contents = [f"- [`{name}`](#{name.replace(' ', '-')}): {_about(function)}" for name, function in commands]
    return "\n".join([_HEADER, *contents, *(line for one in commands for line in _section(*one))]) + "\n"


def _commands(path: str, app: Typer) -> Iterator[tuple[str, Function]]:
    """Each command's full name and function, in the order of `--help`."""
    for command in app.registered_commands:
        assert command.callback
        yield f"{path} {command.name}", command.callback
    for group in app.registered_groups:
        assert group.typer_instance
        yield from _commands(f"{path} {group.name}", group.typer_instance)


def _section(name: str, function: Function) -> Iterator[str]:
    annotated = [one for one in signature(function).parameters.values() if get_args(one.annotation)]
    parameters = [(one, *get_args(one.annotation)) for one in annotated]
    arguments = [(one, about) for one, _, about in parameters if isinstance(about, ArgumentInfo)]
    options = [one for one in parameters if isinstance(one[2], OptionInfo)]
    needed = [f"{_flag(one)} {_value(kind, about)}" for one, kind, about in options if one.default is Parameter.empty]
    yield from ("", f"## {name}", "", _about(function), "")
    yield f"    {' '.join([name, *(one.name.upper() for one, _ in arguments), *needed])} [OPTIONS]"
    if arguments:
        yield from ("", "| Argument | |", "|---|---|")
        yield from (f"| `{one.name.upper()}` | {_help(about)} |" for one, about in arguments)
    yield from ("", "| Option | Value | Default | |", "|---|---|---|---|")
    panels = [None, *cli.PANELS]  # the everyday ones come first
    panel = None
    for one, kind, about in sorted(options, key=lambda option: panels.index(option[2].rich_help_panel)):
        if about.rich_help_panel != panel:
            panel = about.rich_help_panel
            yield f"| **{panel}** | | | |"
        yield f"| {_flags(one, about)} | {_code(_value(kind, about))} | {_default(one, about)} | {_help(about)} |"


def _about(function: Function) -> str:
    return " ".join((function.__doc__ or "").split())


def _help(about: ParameterInfo) -> str:
    """Its docstring as one cell of a table: brackets are no longer escaped for rich."""
    return " ".join((about.help or "").replace(r"\[", "[").split()).replace("|", r"\|")


def _flag(parameter: Parameter) -> str:
    return "--" + parameter.name.replace("_", "-")


def _flags(parameter: Parameter, about: OptionInfo) -> str:
    # Inside `Annotated` typer takes the first name for a default, until it builds the command.
    declared = [one for one in (about.default, *(about.param_decls or ())) if isinstance(one, str)]
    named = [flag for flags in declared for flag in flags.split("/")]
    return ", ".join(f"`{flag}`" for flag in named or [_flag(parameter)])


def _value(kind: Any, about: OptionInfo) -> str:  # noqa: ANN401
    """Values of the flag: its choices, or the kind of value; nothing for a switch."""
    plain = next(one for one in get_args(kind) if one is not NoneType) if NoneType in get_args(kind) else kind
    if plain is bool:
        return ""
    if get_origin(plain) is Literal:
        return " | ".join(map(str, get_args(plain)))
    return about.metavar or {int: "N", float: "X", str: "TEXT", Path: "PATH"}[plain]


def _code(text: str) -> str:
    return ", ".join(f"`{one}`" for one in text.split(" | ")) if text else ""


def _default(parameter: Parameter, about: OptionInfo) -> str:
    if parameter.default is Parameter.empty:
        return "required"
    return _code(about.show_default) if isinstance(about.show_default, str) else ""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: written\n")


if __name__ == "__main__":
    main()
