"""The command line, made from the functions of the interface: a config from flags, a call, the result's lines.

A command's flags are the fields of its config: their names, types, defaults and docstrings are those of the dataclass.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

import typer

from . import __version__
from .cache.storage.location import Location, location
from .errors import TextdiffError
from .pipeline import config as configs
from .pipeline.config import presets
from .pipeline.config.command_line import COMMAND, is_command, read_command
from .pipeline.config.validation import REPEATED, flag, kinds_of
from .pipeline.config.values import read_config
from .pipeline.interface.functions import COMMANDS, command_name
from .pipeline.interface.settings import PRESET_HELP, CommandFunction, field_docstrings
from .pipeline.runtime import error_messages, interrupts, terminal
from .pipeline.runtime.process import prepare_process
from .pipeline.runtime.progress import Progress
from .pipeline.runtime.results import Result

PANELS = {
    "Models": "encoder_layers unet_config class_label condition offline precision compile noise noise_draws",
    "Images and texts": "crop window colours tile_overlap views views_of filters texts truncate_texts",
    "Storage": "dtype pca hash_ids hash_key",
    "Several processes": "engine workers num_parts part_id",
    "Architecture": "channels layers width n_attention_heads position",
    "Optimisation": "batch_size images_per_step pixels_per_image learning_rate weight_decay text_dropout ema_decay",
}
"""Panel of `--help` → fields of any command; fields in none are the everyday ones, which are shown first."""
_PANEL_OF = {field: panel for panel, names in PANELS.items() for field in names.split()}

CONFIG, FROM_FILE = "config", "textdiff.from_file"
"""Name of the option of every command that reads a file; the place of the file's settings among those of a call."""
CONFIG_HELP = f"""Settings of this command from a JSON file, as runs, caches and reports keep it ({COMMAND}); what is
given beside it comes first, and it comes before a preset."""

_PATHS = tuple[Path, ...]
_NUMBERS, _PAIR, _SUBSETS = tuple[int, ...], tuple[int, int], tuple[tuple[int, ...], ...]
_FORMATS = tuple[configs.MaskFormat, ...]
_SHARES, _NAMES = tuple[float, float, float], tuple[str, str]
_SOURCES = tuple[str, ...]
_METAVARS: dict[Any, str] = {
    Location: "PATH_OR_URL",
    _NUMBERS: "N,N,...",
    _PAIR: "LOW,HIGH",
    _SUBSETS: "N;N,N;...",
    _FORMATS: "FORMAT,FORMAT,...",
    _SHARES: "TRAIN,VAL,TEST",
    _NAMES: "NAME,TEXT",
    _SOURCES: "NAME,NAME,...",
}
"""Types that are parsed here → what `--help` shows for a value."""
# An URL must come as it is written: a Path would make one slash of two.
_ARGUMENTS: dict[Any, Any] = {Path: Path, _PATHS: list[Path], Location: str}
"""Types of required fields that are arguments → typer's."""


def main() -> None:
    """Run the command line: 0 done, 1 an explained problem, 2 wrong usage, 130 interrupted, 143 terminated."""
    prepare_process()
    terminal.prepare_streams()
    if line := terminal.unreadable_arguments(sys.argv[1:]):
        _stop(line, error_messages.EXPLAINED)
    with terminal.output_explained():
        app()


def build_app() -> typer.Typer:
    """All commands, those of `cache` in a group of their own."""
    about = "Segment medical images from few labelled examples: extract features once, learn in seconds."
    whole = typer.Typer(
        name="textdiff", help=about, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
    )
    whole.callback()(_options)
    about = "Describe, check, export or merge feature caches."
    group = typer.Typer(help=about, no_args_is_help=True)
    for function in COMMANDS:
        name = command_name(function).removeprefix("cache ")
        (whole if name == command_name(function) else group).command(name, help=function.summary)(_callback(function))
    whole.add_typer(group, name="cache")
    return whole


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"textdiff {__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    del version  # acted upon before anything else is read


def _callback(function: CommandFunction[Result]) -> Callable[..., None]:
    def run(*, context: typer.Context, as_json: bool, **given: Any) -> None:  # noqa: ANN401
        try:
            with interrupts.terminations_raised():
                config = _build(function.config, _written(context, given), context.meta.get(FROM_FILE, {}))
                result = function(config, progress=Progress(shown=True, stdout_is_taken=as_json))
        except (Exception, KeyboardInterrupt) as error:
            message = error_messages.describe(error, function.config)
            if message is None:
                raise
            _stop(*message)
        _show(result, as_json=as_json)

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *_parameters(function)]
    run.__doc__ = function.summary
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(function: CommandFunction[Result]) -> list[inspect.Parameter]:
    """The command's arguments and options, as typer reads them from a signature."""
    config_class = function.config
    kinds, texts = kinds_of(config_class), field_docstrings(config_class)
    own_first = sorted(fields(config_class), key=lambda field: field.kw_only is True)  # a base's are keyword-only
    parameters = [_parameter(field, kinds[field.name], texts[field.name]) for field in own_first]
    if presets.takes_presets(config_class):
        about = typer.Option(help=PRESET_HELP, show_default=False)
        parameters.append(_keyword("preset", Literal[tuple(presets.PRESETS)] | None, about, None))
    own = [parameter for parameter in parameters if parameter.name == CONFIG]
    about = typer.Option(help=_config_help(texts), metavar="FILE", is_eager=True, callback=_reader(function))
    parameters = [parameter for parameter in parameters if parameter not in own]
    parameters.append(_keyword(CONFIG, Path | None, about, None))
    about = typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
    return [*parameters, _keyword("as_json", bool, about, False)]


def _config_help(texts: dict[str, str]) -> str:
    return f"{texts[CONFIG]} A file that names a command: {CONFIG_HELP}" if CONFIG in texts else CONFIG_HELP


def _reader(function: CommandFunction[Result]) -> Callable[[typer.Context, Path | None], Path | None]:
    """The callback of `--config`: it keeps the file's settings for the body, and lets them stand for arguments."""
    kinds = kinds_of(function.config)

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is None or (CONFIG in kinds and not is_command(path)):
            return path
        try:
            settings = read_command(path, command_name(function), function.config)
        except TextdiffError as error:
            raise typer.BadParameter(str(error)) from error
        required = {field.name for field in fields(function.config) if field.default is MISSING}
        context.meta[FROM_FILE] = settings
        context.default_map = {name: _as_argument(settings[name]) for name in settings.keys() & required}
        return None

    return read


def _as_argument(value: Any) -> Any:  # noqa: ANN401
    return [*map(str, value)] if isinstance(value, tuple) else str(value)


def _written(context: typer.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Of what the body was given the flags and arguments that were written, without those from a file."""
    of_file = {CONFIG, *(context.default_map or {})} if FROM_FILE in context.meta else set()
    return {
        name: value
        for name, value in given.items()
        if name not in of_file or getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def _parameter(field: Field[Any], kind: Any, text: str) -> inspect.Parameter:  # noqa: ANN401
    required, absent = field.default is MISSING, inspect.Parameter.empty
    about: dict[str, Any] = {"rich_help_panel": _PANEL_OF.get(field.name)}
    about["help"] = text.replace("[", r"\[")  # brackets are rich's markup
    if required and kind in _ARGUMENTS:
        return _keyword(field.name, _ARGUMENTS[kind], typer.Argument(**about), absent)
    if field.metadata.get(REPEATED):
        option = typer.Option(flag(field.name), show_default=False, metavar="SOURCE", **about)
        return _keyword(field.name, list[str] | None, option, None)
    # The config's default is shown, but not passed on: so a preset can tell what was not given.
    if kind is bool:
        on = flag(field.name)
        flags, shown = (f"{on}/--no{on[1:]}", on) if field.default else (on, False)
        return _keyword(field.name, bool | None, typer.Option(flags, show_default=shown, **about), None)
    shown = False if required or field.default is None else _as_flag(field.default)
    option = typer.Option(show_default=shown, metavar=_METAVARS.get(kind), **about)
    taken = str if kind in _METAVARS else kind
    return _keyword(field.name, taken if required else taken | None, option, absent if required else None)


def _keyword(name: str, kind: Any, about: Any, default: Any) -> inspect.Parameter:  # noqa: ANN401
    annotation = Annotated[kind, about]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _build(config_class: type[Any], given: dict[str, Any], from_file: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
    kinds, values, problems = kinds_of(config_class), dict(from_file or {}), []
    for name, value in given.items():
        kind = kinds.get(name)  # a preset is no field
        try:
            if value is not None:
                values[name] = parse(value, kind) if isinstance(value, str) and kind in _METAVARS else value
        except TextdiffError:
            raise
        except ValueError:
            problems.append(f"{flag(name)} got {value!r}; expected {_METAVARS[kind]}")
    if problems:
        raise typer.BadParameter("; ".join(problems))
    return read_config(config_class, values)


def parse(text: str, kind: Any) -> Any:  # noqa: ANN401
    """The value that a flag's text stands for.

    Args:
        text: as written.
        kind: among `_METAVARS`.

    Raises:
        ValueError: if it has another form.
    """
    if kind == Location:
        return location(text)
    if kind == _SUBSETS:
        return tuple(parse(subset, _NUMBERS) for subset in text.split(";"))
    part = {_SHARES: float, _NAMES: str, _FORMATS: str, _SOURCES: str}.get(kind, int)
    values = tuple(part(value.strip()) for value in text.split(","))
    if kind in (_PAIR, _SHARES, _NAMES) and len(values) != len(get_args(kind)):
        raise ValueError(text)
    return values


def _as_flag(value: Any) -> str:  # noqa: ANN401
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _show(result: Result, *, as_json: bool) -> None:
    values = result.to_dict()
    typer.echo(json.dumps(values) if as_json else "\n".join(result.lines()))
    if values.get("problems"):
        raise typer.Exit(1)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)


app = build_app()
