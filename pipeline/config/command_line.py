"""The command that gives a config: as a line for a shell, and as a JSON file for `--config`."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cache.storage.atomic import canonical_json, parse_json, write_json
from ...cache.storage.location import Location
from ...errors import ConfigError
from .validation import REPEATED, CommandConfig, flag
from .values import read_values, to_dict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

COMMAND = "command.json"
"""In the folder that a command wrote: its settings, for `--config`."""
NAME = "command"
"""In such a file, beside the settings: the command's name."""
OF_A_CALL = ("resume", "log", "dry_run", "num_parts", "part_id")
"""Settings of a call that change nothing in what it makes, or in what all calls for the parts of a cache make."""


def command_line(command: str, config: DataclassInstance, without: Collection[str] = ()) -> str:
    """The command that gives the config, quoted for a shell; settings at their defaults are left out.

    Args:
        command: its name (`train-head`).
        config: its settings.
        without: other fields to leave out.
    """
    words = ["textdiff", *command.split()]
    for field in fields(config):
        if field.name not in without:
            words += _words(field, getattr(config, field.name))
    return shlex.join(words)


def command_settings(command: str, config: CommandConfig) -> dict[str, Any]:
    """Content of the file that repeats a command: its name and all settings, defaults too, but for `OF_A_CALL`."""
    return {NAME: command, **{name: value for name, value in to_dict(config).items() if name not in OF_A_CALL}}


def command_json(command: str, config: CommandConfig) -> str:
    """The file that repeats a command, as text."""
    return canonical_json(command_settings(command, config), indent=1).decode()


def write_command(folder: Location, command: str, config: CommandConfig, name: str = COMMAND) -> None:
    """Write the file that repeats a command into the folder that it made."""
    write_json(folder / name, command_settings(command, config))


def read_command(path: Path, command: str, config: type[CommandConfig]) -> dict[str, Any]:
    """The settings of a file for `--config`, as a config takes them.

    Args:
        path: of a JSON object: field → value, of any fields, and `command` → the command's name, which may be absent.
        command: that reads it.
        config: of the command.

    Raises:
        ConfigError: if the file cannot be read or is another command's, or with a line for each unknown setting and
            each value of another type.
    """
    try:
        values = parse_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} got {type(values).__name__}; expected an object of settings")
    if (other := values.pop(NAME, command)) != command:
        raise ConfigError(f"{path} is of `textdiff {other}`; expected one of `textdiff {command}`")
    try:
        return read_values(config, values)
    except ConfigError as error:
        raise ConfigError(f"{path}:\n{error}") from error


def is_command(path: Path) -> bool:
    """Whether a file names the command whose settings it holds."""
    try:
        values = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and NAME in values


def _words(field: Field[Any], value: Any) -> Iterator[str]:  # noqa: ANN401
    several = value if isinstance(value, tuple) else (value,)
    if field.default is MISSING and all(isinstance(one, Location) for one in several):
        yield from map(str, several)
    elif value == field.default or value is None:
        return
    elif field.metadata.get(REPEATED):
        for one in value:
            yield from (flag(field.name), str(one))
    elif isinstance(value, bool):
        yield flag(field.name if value else f"no_{field.name}")
    else:
        yield from (flag(field.name), _text(value))


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, tuple):
        return str(value)
    several = any(isinstance(one, tuple) for one in value)
    return (";" if several else ",").join(map(_text, value))
