"""Configs from plain values, of Python or of JSON, and back."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, fields
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ...cache.storage.location import Location, location
from .presets import PRESETS, preset_settings, takes_presets
from .validation import REPEATED, CommandConfig, flag, refuse

Config = TypeVar("Config", bound=CommandConfig)

PRESET = "preset"
"""Beside the fields of a config: named settings for those that are not given."""
_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
}


def read_config(config: type[Config], values: Mapping[str, Any]) -> Config:
    """A config from plain values.

    Args:
        config: the command's dataclass.
        values: as of `read_values`.

    Raises:
        ConfigError: with a line for each value of another type, or for each that the config refuses.
    """
    return config(**read_values(config, values))


def read_values(config: type[CommandConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value as a config has it, of some fields or all.

    Paths may be text, tuples may be lists, and a flag that may be repeated may have one text for its only value.

    Args:
        config: the command's dataclass.
        values: field → value; `preset` → its name, where presets concern the command.

    Raises:
        ConfigError: with a line for each unknown field, or for each value of another type.
    """
    given, preset = dict(values), None
    if takes_presets(config):
        preset = given.pop(PRESET, None)
        refuse(*[f"--preset got {preset!r}; expected one of {', '.join(PRESETS)}"] * (preset not in (None, *PRESETS)))
    kinds, known = kinds_of(config), {field.name: field for field in fields(config)}
    converted = dict(preset_settings(preset, config)) if preset else {}
    problems = [f"{flag(name)} is no setting of this command" for name in given if name not in known]
    for name, value in given.items():
        if name not in known:
            continue
        try:
            converted[name] = _converted(known[name], kinds[name], value)
        except TypeError:
            problems.append(f"{flag(name)} got {value!r}; expected {in_words(kinds[name])}")
    refuse(*problems)
    return converted


def to_dict(config: CommandConfig) -> dict[str, Any]:
    """A config as plain JSON values, paths and URLs as text."""
    return {name: _plain(value) for name, value in asdict(config).items()}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [*map(_plain, value)]
    return str(value) if isinstance(value, Location) else value


def kinds_of(config: type[Any]) -> dict[str, Any]:
    """Field → its type, without the rules and without `None`."""
    return {
        name: functools.reduce(operator.or_, (part for part in get_args(hint) if part is not NoneType))
        if NoneType in get_args(hint)
        else hint
        for name, hint in hints_of(config).items()
    }


def hints_of(config: type[Any]) -> dict[str, Any]:
    """Field → its type, without the rules."""
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in fields(config)}


def in_words(kind: Any) -> str:  # noqa: ANN401
    """A type of field as a message names it."""
    if kind == Location:
        return "a path or URL"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        of, *rest = get_args(kind)
        return f"{len(rest) + 1} values" if rest and rest != [...] else f"several values, each {in_words(of)}"
    return _WORDS.get(kind, str(kind))


def _converted(field: Field[Any], kind: Any, value: Any) -> Any:  # noqa: ANN401
    if value is None:
        if field.default is None:
            return None
        raise TypeError
    if field.metadata.get(REPEATED) and isinstance(value, str):
        return (value,)
    return _of_kind(kind, value)


def _of_kind(kind: Any, value: Any) -> Any:  # noqa: ANN401
    """The value, of the kind; raises TypeError."""
    if kind == Location:
        return location(value if isinstance(value, Location) else os.fspath(value))
    if kind is Path:
        return Path(os.fspath(value))
    if get_origin(kind) is Literal:
        return value  # as the config allows
    if get_origin(kind) is tuple:
        return tuple(_elements(get_args(kind), value))
    number = {int: Integral, float: Real}.get(kind, kind)
    if not isinstance(value, number) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return kind(value)


def _elements(kinds: tuple[Any, ...], values: Any) -> Iterator[Any]:  # noqa: ANN401
    if not isinstance(values, list | tuple | range):
        raise TypeError
    of = [kinds[0]] * len(values) if kinds[-1] is ... else [*kinds]
    if len(of) != len(values):
        raise TypeError
    yield from map(_of_kind, of, values)
