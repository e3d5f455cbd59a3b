"""The command line that gives a config."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

from ...cache.storage.location import Location
from .validation import REPEATED, flag

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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


def _words(field: Field[Any], value: Any) -> Iterator[str]:  # noqa: ANN401
    if field.default is MISSING and isinstance(value, Location):
        yield str(value)
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
